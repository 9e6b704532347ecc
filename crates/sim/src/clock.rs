//! Wall clocks that differ from each other and jump.

use std::sync::atomic::{AtomicI64, Ordering};

use testkit::clock::TokioClock;
use tokenwire_core::{Clock, Timestamp};

/// How far a clock may be off, in milliseconds: two of them differ by less than the queue time leaves room for.
pub(crate) const MOST_OFF: i64 = 20_000;

/// Simulated time, and what this machine's clock is off.
#[derive(Debug)]
pub(crate) struct JumpingClock {
    truth: TokioClock,
    off: AtomicI64,
}

impl JumpingClock {
    pub(crate) fn new(truth: TokioClock) -> Self {
        Self { truth, off: AtomicI64::new(0) }
    }

    /// From now on this clock is off by so many milliseconds.
    pub(crate) fn jump(&self, off: i64) {
        self.off.store(off, Ordering::SeqCst);
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        let now = self.truth.now().as_millis();
        Timestamp::from_millis(now.saturating_add_signed(self.off.load(Ordering::SeqCst)))
    }
}
