//! The one source of everything that is random in a run.
//!
//! All tasks of a run draw from one generator, in the order in which the runtime polls them. That order follows from the
//! seed, so a run does too; a single draw out of order shows in everything after it.

use std::{
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// A generator that follows from its seed.
#[derive(Debug)]
pub(crate) struct Rng(Mutex<StdRng>);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// True with this probability.
    pub(crate) fn happens(&self, probability: f64) -> bool {
        self.lock().random_bool(probability)
    }

    pub(crate) fn number(&self, range: RangeInclusive<u64>) -> u64 {
        self.lock().random_range(range)
    }

    /// A place in a list of this length, which is not empty.
    pub(crate) fn index(&self, len: usize) -> usize {
        self.lock().random_range(0..len)
    }

    pub(crate) fn millis(&self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }

    fn lock(&self) -> MutexGuard<'_, StdRng> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
