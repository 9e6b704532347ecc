//! Wall time, as an argument. Everything that compares or stores a point in time gets a [`Clock`]; waiting is tokio's
//! business. Tests own both.

use std::{
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

    /// This much later; saturates at the end of time.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Where wall time comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now. May step in either direction: compare with a margin where two machines are involved.
    fn now(&self) -> Timestamp;
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

/// How far the machine's clock may be from where it should be before that counts as a step.
const STEP: Duration = Duration::from_secs(2);

/// How long after a step the time goes on as if there had been none. Longer than prompts wait and run by default.
const HOLD: Duration = Duration::from_secs(60 * 60);

/// A clock that does not step: a deadline that was set before a step of the machine's clock is met as if there had been no
/// step. It takes the time of another clock once, and counts on from there by the monotonic clock. It takes the new time an
/// hour after a step, when everything that waited at the step has ended. It follows smaller differences at once.
#[derive(Debug)]
pub struct SteadyClock<C = SystemClock> {
    clock: C,
    state: Mutex<Steady>,
}

#[derive(Debug)]
struct Steady {
    /// The time that the clock gave last, and when by the monotonic clock.
    anchor: (Timestamp, Instant),
    stepped_at: Option<Instant>,
}

impl<C: Clock> SteadyClock<C> {
    /// Begins with the time of this clock.
    pub fn new(clock: C) -> Self {
        let anchor = (clock.now(), Instant::now());
        Self { clock, state: Mutex::new(Steady { anchor, stepped_at: None }) }
    }
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self::new(SystemClock)
    }
}

impl<C: Clock> Clock for SteadyClock<C> {
    fn now(&self) -> Timestamp {
        // Nothing panics while it holds the lock.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.time_at(Instant::now(), self.clock.now())
    }
}

impl Steady {
    /// The time to go by, where the clock shows `shown`.
    fn time_at(&mut self, at: Instant, shown: Timestamp) -> Timestamp {
        let (anchor, since) = self.anchor;
        let steady = anchor.after(at.duration_since(since));
        let off = shown.since(steady).max(steady.since(shown));
        if off < STEP {
            self.stepped_at = None;
        } else {
            let stepped_at = *self.stepped_at.get_or_insert(at);
            if at.duration_since(stepped_at) < HOLD {
                return steady;
            }
            tracing::warn!(
                off_s = off.as_secs(),
                "the machine's clock was set an hour ago; using its time from now on"
            );
        }
        *self = Self { anchor: (shown, at), stepped_at: None };
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_step_of_the_machines_clock_moves_no_deadline() {
        let (began, noon) = (Instant::now(), Timestamp::from_millis(1_800_000_000_000));
        for back in [false, true] {
            let mut clock = Steady { anchor: (noon, began), stepped_at: None };
            let step = |time: Timestamp| {
                if back { Timestamp::from_millis(time.as_millis() - 3_600_000) } else { time.after(HOUR) }
            };
            assert_eq!(clock.time_at(began + SECOND, noon.after(SECOND)), noon.after(SECOND));
            for seconds in [2, 600, 3599] {
                let later = Duration::from_secs(seconds);
                assert_eq!(clock.time_at(began + later, step(noon.after(later))), noon.after(later));
            }
            let later = HOUR + 2 * SECOND;
            assert_eq!(
                clock.time_at(began + later, step(noon.after(later))),
                step(noon.after(later)),
                "an hour later"
            );
        }
    }

    #[test]
    fn a_clock_that_runs_a_little_fast_is_followed() {
        let (began, noon) = (Instant::now(), Timestamp::from_millis(1_800_000_000_000));
        let mut clock = Steady { anchor: (noon, began), stepped_at: None };
        for minute in 1..100 {
            let shown = noon.after(Duration::from_millis(minute * 60_500));
            assert_eq!(clock.time_at(began + Duration::from_millis(minute * 60_000), shown), shown);
        }
    }
}
