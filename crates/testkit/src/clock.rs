//! Clocks that a test owns.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokenwire_core::{Clock, Timestamp};
use tokio::time::Instant;

/// Some time in 2025: far from zero, so that nothing works by accident.
const BEGINNING: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// Wall time that passes as tokio's does: with paused time, only when the test waits.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    began: Instant,
}

impl Default for TokioClock {
    fn default() -> Self {
        Self { began: Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        BEGINNING.after(self.began.elapsed())
    }
}

/// Wall time that stands still until the test moves it, in either direction.
#[derive(Debug)]
pub struct ManualClock {
    millis: AtomicU64,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self { millis: AtomicU64::new(BEGINNING.as_millis()) }
    }
}

impl ManualClock {
    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().after(by));
    }

    /// Moves the time to a point, as an operator's hand or a time server does.
    pub fn set(&self, to: Timestamp) {
        self.millis.store(to.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }
}
