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
/// to the entries it announces; a follower that is this far behind is better served by one read of a page.
const HINTS: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Tails {
    channels: Mutex<HashMap<GenerationId, broadcast::Sender<Hint>>>,
}

impl Tails {
    /// Listens for the hints about a stream. The channel is forgotten once an announcement finds nobody listening.
    pub(crate) fn listen(&self, id: GenerationId) -> Tail {
        let mut channels = self.lock();
        let sender = channels.entry(id).or_insert_with(|| broadcast::channel(HINTS).0);
        Tail::new(sender.subscribe())
    }

    /// Passes a hint to whoever follows the stream here.
    pub(crate) fn announce(&self, id: GenerationId, hint: Hint) {
        let mut channels = self.lock();
        if let Some(sender) = channels.get(&id)
            && sender.send(hint).is_err()
        {
            channels.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GenerationId, broadcast::Sender<Hint>>> {
        // Nothing panics while holding the lock, and a map of channels is whole at every instant.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
