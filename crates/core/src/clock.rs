//! Wall time as an argument, so that tests control it. Waiting uses tokio's time.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// A point in wall time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This much later. Saturates.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this. Zero if this is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Where wall time comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current time. It can step in either direction. Compare times of two machines with a margin.
    fn now(&self) -> Timestamp;

    /// Whether a deadline has passed.
    fn has_passed(&self, deadline: Timestamp) -> bool {
        self.now() > deadline
    }

    /// The time since then.
    fn elapsed_since(&self, earlier: Timestamp) -> Duration {
        self.now().since(earlier)
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(0).after(since_epoch)
    }
}

/// A larger jump ahead counts as a step of the clock.
const STEP: Duration = Duration::from_secs(2);

/// How many steps are remembered. A clock that is set more often just runs fast.
const STEPS_KEPT: usize = 16;

/// The machine's clock, for a process that runs while the clock is set. It returns the machine's time, and remembers each step
/// ahead: a deadline that was set before a step passes as if there had been no step. After a step back, deadlines pass later
/// by as much.
#[derive(Debug)]
pub struct SteadyClock<C = SystemClock> {
    clock: C,
    state: Mutex<Steady>,
}

#[derive(Debug)]
struct Steady {
    /// The last time of the clock, and when it was read.
    last: (Timestamp, Instant),
    steps: VecDeque<Step>,
}

/// One time that the clock was set ahead.
#[derive(Clone, Copy, Debug)]
struct Step {
    from: Timestamp,
    to: Timestamp,
}

impl<C: Clock> SteadyClock<C> {
    /// Watches this clock. A step is noticed at the next call.
    pub fn new(clock: C) -> Self {
        let last = (clock.now(), Instant::now());
        Self { clock, state: Mutex::new(Steady { last, steps: VecDeque::new() }) }
    }

    fn with<T>(&self, ask: impl FnOnce(&Steady, Timestamp) -> T) -> T {
        // Nothing panics while it holds the lock.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        state.tell(now, Instant::now());
        ask(&state, now)
    }
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self::new(SystemClock)
    }
}

impl<C: Clock> Clock for SteadyClock<C> {
    fn now(&self) -> Timestamp {
        self.with(|_, now| now)
    }

    fn has_passed(&self, deadline: Timestamp) -> bool {
        self.with(|steady, now| now > steady.shifted(deadline))
    }

    fn elapsed_since(&self, earlier: Timestamp) -> Duration {
        self.with(|steady, now| now.since(earlier).saturating_sub(steady.set_ahead_since(earlier)))
    }
}

impl Steady {
    fn tell(&mut self, told: Timestamp, at: Instant) {
        let (last, since) = self.last;
        let expected = last.after(at.duration_since(since));
        if told.since(expected) >= STEP {
            tracing::warn!(
                by_s = told.since(expected).as_secs(),
                "the machine's clock was set ahead; deadlines are moved by as much"
            );
            self.steps.push_back(Step { from: expected, to: told });
            if self.steps.len() > STEPS_KEPT {
                self.steps.pop_front();
            }
        }
        self.last = (told, at);
    }

    /// A deadline, moved by every step that came after it was set.
    fn shifted(&self, deadline: Timestamp) -> Timestamp {
        self.steps.iter().fold(deadline, |deadline, step| {
            // A deadline beyond the step was set after it, or is too far ahead to matter.
            if step.from < deadline && deadline <= step.to {
                deadline.after(step.to.since(step.from))
            } else {
                deadline
            }
        })
    }

    fn set_ahead_since(&self, earlier: Timestamp) -> Duration {
        self.steps.iter().filter(|step| earlier <= step.from).map(|step| step.to.since(step.from)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_step_of_the_machines_clock_expires_nothing_that_was_stamped_before_it() {
        let (began, noon) = (Instant::now(), Timestamp::from_millis(1_800_000_000_000));
        let mut clock = Steady { last: (noon, began), steps: VecDeque::new() };
        let deadline = noon.after(5 * MINUTE);
        clock.tell(noon.after(MINUTE), began + MINUTE);
        assert_eq!(clock.shifted(deadline), deadline);
        // An hour ahead after two minutes, and another one a minute later.
        clock.tell(noon.after(2 * MINUTE + HOUR), began + 2 * MINUTE);
        assert_eq!(clock.shifted(deadline), deadline.after(HOUR));
        clock.tell(noon.after(3 * MINUTE + 2 * HOUR), began + 3 * MINUTE);
        assert_eq!(clock.shifted(deadline), deadline.after(2 * HOUR));
        assert_eq!(clock.set_ahead_since(noon), 2 * HOUR);
        // What is stamped after that is taken as it is; so is what had passed before it.
        let later = noon.after(2 * HOUR + 10 * MINUTE);
        assert_eq!((clock.shifted(later), clock.set_ahead_since(later)), (later, Duration::ZERO));
        assert_eq!(clock.shifted(noon.after(SECOND)), noon.after(SECOND));
    }

    #[test]
    fn a_clock_that_is_set_back_or_runs_a_little_fast_is_followed() {
        let (began, noon) = (Instant::now(), Timestamp::from_millis(1_800_000_000_000));
        let mut clock = Steady { last: (noon, began), steps: VecDeque::new() };
        for minute in 1..100 {
            clock.tell(noon.after(Duration::from_millis(minute * 60_500)), began + minute_s(minute));
        }
        clock.tell(noon, began + minute_s(100));
        assert!(clock.steps.is_empty(), "{:?}", clock.steps);
    }

    fn minute_s(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }
}
