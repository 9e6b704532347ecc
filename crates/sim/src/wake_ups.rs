//! Hints that are lost, late, repeated, out of order, or without their entries. Hints with entries that were not appended are
//! a planted defect.

use tokenwire_core::token_log::{Hint, Wakeups};
use tokio::{sync::broadcast, time::sleep};

use crate::injector::Node;

/// As small as an adapter would make it, so that a slow reader falls behind.
const HINTS: usize = 16;

/// Injects faults into hints.
pub(crate) fn garble(mut tail: Wakeups, node: &Node) -> Wakeups {
    let (sender, receiver) = broadcast::channel(HINTS);
    let mut way = Way { node: node.clone(), held: None, last: None };
    node.injector.travelling.spawn(async move {
        loop {
            let hint = tokio::select! {
                biased;
                () = sender.closed() => return,
                hint = tail.next() => hint,
            };
            for hint in way.arrivals(hint).await {
                // A closed channel is noticed above.
                let _ = sender.send(hint);
            }
        }
    });
    Wakeups::new(receiver)
}

struct Way {
    node: Node,
    /// One that the next ones overtake.
    held: Option<Hint>,
    last: Option<Hint>,
}

impl Way {
    /// What arrives when this is sent.
    async fn arrivals(&mut self, hint: Hint) -> Vec<Hint> {
        let injector = &self.node.injector;
        if injector.hits(|rates| rates.hint_lost) {
            return Vec::new();
        }
        let mut arrivals = vec![hint.clone()];
        if injector.hits(|rates| rates.hint_garbled) {
            match injector.rng.index(5) {
                0 => arrivals = vec![Hint::Look],
                1 => arrivals.push(hint.clone()),
                2 => arrivals.extend(self.last.take()),
                3 => self.held = arrivals.pop(),
                _ => sleep(self.node.long_time()).await,
            }
        } else {
            arrivals.extend(self.held.take());
        }
        self.last = Some(hint);
        arrivals
    }
}
