//! How many prompts may wait for a worker.
//!
//! A prompt that waits longer than its queue time expires unanswered, so beyond some length a queue holds nothing but
//! disappointment: it is kinder to say so at once. The queue knows how many wait. What it cannot know are the prompts between
//! the question and its answer to it, and a thousand of them may come at the same time: they are counted here.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The bound, and how many are on their way to the queue. Clones share the count.
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

    /// A place in a queue where so many wait, if there is one left. To be kept until the queue counts the job, or until it is
    /// clear that there will be none: for a moment a job may count twice, and never not at all.
    pub(super) fn place(&self, waiting: impl FnOnce() -> usize) -> Option<Place> {
        // Counted first and asked after: whoever has given its place back by then is among those who wait.
        let arriving = self.arriving.fetch_add(1, Ordering::AcqRel) + 1;
        let place = Place(Arc::clone(&self.arriving));
        (waiting().saturating_add(arriving) <= self.bound).then_some(place)
    }
}

/// A place on the way to the queue. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
