//! Bounds how many prompts wait for a worker.
//!
//! A prompt that waits longer than its queue time expires, so a queue that is too long only delays the refusal. The queue knows
//! how many jobs wait. Prompts that are being stored are counted here, because a thousand can arrive at the same time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The bound, and how many prompts are being stored. Clones share the count.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    bound: usize,
    arriving: Arc<AtomicUsize>,
}

impl Default for Admission {
    fn default() -> Self {
        Self::with_bound(usize::MAX)
    }
}

impl Admission {
    pub(super) fn with_bound(bound: usize) -> Self {
        Self { bound, arriving: Arc::default() }
    }

    /// Reserves a place, if there is one left. Keep it until the queue counts the job, or the submission has failed. A job may
    /// briefly be counted twice, never zero times.
    pub(super) fn place(&self, waiting: impl FnOnce() -> usize) -> Option<Place> {
        // Count first, ask second: a place that was dropped by then is counted by the queue.
        let arriving = self.arriving.fetch_add(1, Ordering::AcqRel) + 1;
        let place = Place(Arc::clone(&self.arriving));
        (waiting().saturating_add(arriving) <= self.bound).then_some(place)
    }
}

/// A reserved place. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
