//! One prompt, and what its clients know of its generation so far.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use testkit::client::Frame;
use tokenwire_core::GenerationId;
use tokio::{sync::watch, time::Instant};

use crate::plan::Prompt;

/// What is known of a generation while it is read.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) id: GenerationId,
    pub(crate) prompt: Prompt,
    pub(crate) asked_at: Instant,
    /// Of the POST.
    pub(crate) body: String,
    /// A client saw a 200.
    accepted: watch::Sender<bool>,
    progress: watch::Sender<Progress>,
    /// A client asked for an end.
    is_stopped: AtomicBool,
}

/// How far the readers have come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// The last entry that a reader saw.
    pub(crate) seq: u64,
    /// The number of its attempt, and the region where that runs.
    pub(crate) attempt: u64,
    pub(crate) region: String,
}

impl Generation {
    pub(crate) fn new(prompt: Prompt) -> Self {
        let id = GenerationId::fresh();
        let (query, model) = (&prompt.query, prompt.asks.model());
        let body = json!({ "query": query, "uuid": id.to_string(), "model": model }).to_string();
        Self {
            id,
            prompt,
            asked_at: Instant::now(),
            body,
            accepted: watch::Sender::new(false),
            progress: watch::Sender::default(),
            is_stopped: AtomicBool::new(false),
        }
    }

    pub(crate) fn accept(&self) {
        self.accepted.send_replace(true);
    }

    pub(crate) fn is_accepted(&self) -> bool {
        *self.accepted.borrow()
    }

    /// A client asks for an end.
    pub(crate) fn stopped(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// A reader saw an entry.
    pub(crate) fn saw(&self, seq: u64, frame: &Frame) {
        self.progress.send_if_modified(|progress| {
            let is_new = seq > progress.seq;
            if is_new {
                progress.seq = seq;
                if let "started" | "rewind" = frame.event.as_str() {
                    let data: Value = serde_json::from_str(&frame.data).unwrap_or_default();
                    progress.attempt = data.get("attempt").and_then(Value::as_u64).unwrap_or_default();
                    let region = data.get("region").and_then(Value::as_str).unwrap_or_default();
                    region.clone_into(&mut progress.region);
                }
            }
            is_new
        });
    }

    /// Waits until a reader has come so far.
    pub(crate) async fn until(&self, is_reached: impl FnMut(&Progress) -> bool) -> Progress {
        let mut progress = self.progress.subscribe();
        progress.wait_for(is_reached).await.expect("the sender is ours").clone()
    }

    /// The last entry that a reader saw.
    pub(crate) fn seq(&self) -> u64 {
        self.progress.borrow().seq
    }

    pub(crate) async fn until_accepted(&self) {
        // The sender is ours, so it does not go away.
        let _ = self.accepted.subscribe().wait_for(|accepted| *accepted).await;
    }
}
