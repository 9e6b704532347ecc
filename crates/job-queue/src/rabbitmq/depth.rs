//! The number of jobs that wait at the broker, asked at an interval.
//!
//! Asking for every prompt would double the cost of a prompt at the broker. So the number is about a second old, plus what
//! this process has stored since. It is rather too high, except for what other processes stored meanwhile.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use lapin::{
    Channel,
    options::QueueDeclareOptions,
    types::{FieldTable, ShortString},
};
use tokio::time::{MissedTickBehavior, interval};

use super::link_error::LinkError;

/// How often the broker is asked. Cheap, and much shorter than prompts may wait.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Depth {
    /// The last answer of the broker.
    looked: AtomicUsize,
    /// Stored since then.
    stored_since: AtomicUsize,
}

impl Depth {
    pub(super) fn waiting(&self) -> usize {
        self.looked.load(Ordering::Acquire) + self.stored_since.load(Ordering::Acquire)
    }

    /// Counts a confirmed job.
    pub(super) fn stored(&self) {
        self.stored_since.fetch_add(1, Ordering::AcqRel);
    }

    /// Asks at an interval, until the connection fails.
    pub(super) async fn keep_looking(&self, channel: &Channel, queue: &ShortString) -> LinkError {
        let mut time = interval(LOOK_AGAIN);
        time.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            time.tick().await;
            // Jobs confirmed from here on may be in the answer or not.
            let counted = self.stored_since.load(Ordering::Acquire);
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            match channel.queue_declare(queue.clone(), passive, FieldTable::default()).await {
                Ok(queue) => {
                    self.looked.store(queue.message_count() as usize, Ordering::Release);
                    self.stored_since.fetch_sub(counted, Ordering::AcqRel);
                }
                // The queue or the connection is gone. A new connection repairs both.
                Err(error) => return error.into(),
            }
        }
    }
}
