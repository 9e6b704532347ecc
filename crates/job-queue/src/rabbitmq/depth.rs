//! How many jobs wait at the broker: looked at now and then, and remembered.
//!
//! Asking for every prompt would double what a prompt costs the broker. So the number is about a second old, with what this
//! process has stored since on top: it errs towards too many, but for what other processes store meanwhile.

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

/// How often to look: a small question to the broker, and much shorter than prompts may wait.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Depth {
    /// What the broker said last.
    looked: AtomicUsize,
    /// What it may not have counted yet.
    stored_since: AtomicUsize,
}

impl Depth {
    pub(super) fn waiting(&self) -> usize {
        self.looked.load(Ordering::Acquire) + self.stored_since.load(Ordering::Acquire)
    }

    /// The broker has confirmed one.
    pub(super) fn stored(&self) {
        self.stored_since.fetch_add(1, Ordering::AcqRel);
    }

    /// Looks again and again, until something is wrong with the connection.
    pub(super) async fn keep_looking(&self, channel: &Channel, queue: &ShortString) -> LinkError {
        let mut time = interval(LOOK_AGAIN);
        time.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            time.tick().await;
            // What is confirmed from here on may be in the answer or not.
            let counted = self.stored_since.load(Ordering::Acquire);
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            match channel.queue_declare(queue.clone(), passive, FieldTable::default()).await {
                Ok(queue) => {
                    self.looked.store(queue.message_count() as usize, Ordering::Release);
                    self.stored_since.fetch_sub(counted, Ordering::AcqRel);
                }
                // It is gone, or the connection is: both are healed by a new one.
                Err(error) => return error.into(),
            }
        }
    }
}
