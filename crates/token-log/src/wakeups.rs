//! The wake-ups of one process: one channel for each stream with followers here.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokenwire_core::{
    GenerationId,
    token_log::{Hint, Wakeups},
};
use tokio::sync::broadcast;

/// The capacity of each channel. A follower that falls further behind reads the log. A hint can hold the entries it
/// announces, so this is small.
pub(crate) const HINTS: usize = 4;

/// With fewer channels than this there is no cleanup.
const FEW: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct WakeupRegistry {
    channels: Mutex<Channels>,
}

#[derive(Debug, Default)]
struct Channels {
    by_id: HashMap<GenerationId, broadcast::Sender<Hint>>,
    /// The number of channels after the last cleanup.
    left: usize,
}

impl WakeupRegistry {
    /// Subscribes to the hints about a stream. A channel without listeners is removed by the next announcement. If there is
    /// none (the stream is sealed), a cleanup removes it when there are twice as many channels as after the last cleanup.
    pub(crate) fn listen(&self, id: GenerationId) -> Wakeups {
        let mut channels = self.lock();
        if channels.by_id.len() > FEW.max(2 * channels.left) {
            channels.by_id.retain(|_, sender| sender.receiver_count() > 0);
            channels.left = channels.by_id.len();
        }
        let sender = channels.by_id.entry(id).or_insert_with(|| broadcast::channel(HINTS).0);
        Wakeups::new(sender.subscribe())
    }

    /// Sends a hint to the followers of a stream in this process.
    pub(crate) fn announce(&self, id: GenerationId, hint: Hint) {
        let mut channels = self.lock();
        if let Some(sender) = channels.by_id.get(&id)
            && sender.send(hint).is_err()
        {
            channels.by_id.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Channels> {
        // Nothing panics while it holds the lock.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_without_listeners_is_removed_even_if_its_stream_is_silent() {
        let wakeups = WakeupRegistry::default();
        let listening: Vec<Wakeups> = (0..100).map(|_| wakeups.listen(GenerationId::fresh())).collect();
        for _ in 0..10_000 {
            // The last announcement of a stream finds its readers; they leave after it.
            let id = GenerationId::fresh();
            let heard = wakeups.listen(id);
            wakeups.announce(id, Hint::Look);
            drop(heard);
        }
        assert!(wakeups.lock().by_id.len() <= 2 * listening.len() + 1);
    }

    #[tokio::test]
    async fn a_listener_is_woken_after_many_others_have_left() {
        let (wakeups, id) = (WakeupRegistry::default(), GenerationId::fresh());
        let mut heard = wakeups.listen(id);
        for _ in 0..1000 {
            drop(wakeups.listen(GenerationId::fresh()));
        }
        wakeups.announce(id, Hint::Look);
        assert!(matches!(heard.next().await, Hint::Look));
    }
}
