//! The wake-ups of one process: a channel for each stream that somebody follows here.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokenwire_core::{
    GenerationId,
    token_log::{Hint, Tail},
};
use tokio::sync::broadcast;

/// How many hints a follower may fall behind before it is told to read the log instead. A hint is small, but may hold on
/// to the entries it announces; a follower that is this far behind is better served by one read of a page. There is room for
/// as many in every channel, whether they come or not.
pub(crate) const HINTS: usize = 4;

/// So many channels are never worth a look.
const FEW: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Tails {
    channels: Mutex<Channels>,
}

#[derive(Debug, Default)]
struct Channels {
    by_id: HashMap<GenerationId, broadcast::Sender<Hint>>,
    /// How many there were after the last look for those that nobody listens to any more.
    left: usize,
}

impl Tails {
    /// Listens for the hints about a stream. A channel that nobody listens to is forgotten by the next announcement, or,
    /// where there is none (the stream is sealed), once there are twice as many channels as at the last look.
    pub(crate) fn listen(&self, id: GenerationId) -> Tail {
        let mut channels = self.lock();
        if channels.by_id.len() > FEW.max(2 * channels.left) {
            channels.by_id.retain(|_, sender| sender.receiver_count() > 0);
            channels.left = channels.by_id.len();
        }
        let sender = channels.by_id.entry(id).or_insert_with(|| broadcast::channel(HINTS).0);
        Tail::new(sender.subscribe())
    }

    /// Passes a hint to whoever follows the stream here.
    pub(crate) fn announce(&self, id: GenerationId, hint: Hint) {
        let mut channels = self.lock();
        if let Some(sender) = channels.by_id.get(&id)
            && sender.send(hint).is_err()
        {
            channels.by_id.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Channels> {
        // Nothing panics while holding the lock, and a map of channels is whole at every instant.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_listens_to_any_more_is_forgotten_though_its_stream_says_nothing() {
        let tails = Tails::default();
        let listening: Vec<Tail> = (0..100).map(|_| tails.listen(GenerationId::fresh())).collect();
        for _ in 0..10_000 {
            // The last announcement of a stream finds its readers; they leave after it.
            let id = GenerationId::fresh();
            let tail = tails.listen(id);
            tails.announce(id, Hint::Look);
            drop(tail);
        }
        assert!(tails.lock().by_id.len() <= 2 * listening.len() + 1);
    }

    #[tokio::test]
    async fn who_listens_is_told_however_many_have_left() {
        let (tails, id) = (Tails::default(), GenerationId::fresh());
        let mut tail = tails.listen(id);
        for _ in 0..1000 {
            drop(tails.listen(GenerationId::fresh()));
        }
        tails.announce(id, Hint::Look);
        assert!(matches!(tail.next().await, Hint::Look));
    }
}
