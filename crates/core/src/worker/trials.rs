//! Isolates requests that may have killed their process, so that they do not end other generations.
//!
//! When a process dies, each of its attempts counts as one that died. A generation that has three attempts left
//! is a *suspect* and runs with few others. Its last two attempts run alone. A death then counts for one generation, and the
//! request that causes it ends while others continue.
//!
//! A *trial* is such an attempt, until the answer exceeds every earlier attempt or the attempt ends. A suspect asks its model
//! when every other attempt of this process has made progress since it asked, or after [`ALONE`]. While a suspect waits, and
//! during a trial, no other attempt begins for [`ALONE`] each, and no other suspect for [`AMONG_SUSPECTS`]. So a long prompt
//! does not block a process, and a busy process does not block a suspect.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// How long a trial, or a suspect that waits for one, keeps other attempts from beginning. Long enough for a request that
/// kills its process at once. Short, because a kill from outside makes suspects of harmless requests.
const ALONE: Duration = Duration::from_secs(5);

/// How long a trial keeps other suspects from beginning. The request may kill the process at a later delta.
const AMONG_SUSPECTS: Duration = Duration::from_secs(15);

/// One slot in this many is for suspects with three attempts left.
const SHARE: usize = 4;

/// The attempts that ask their models in this process.
#[derive(Clone, Debug)]
pub(super) struct Trials(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// How many suspects with three attempts left run together.
    together: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Attempts without progress since they asked.
    unproven: usize,
    trial: Option<Trial>,
    /// How many suspects wait, and since when there has been one.
    waiting: usize,
    waiting_since: Option<Instant>,
}

/// The trial that began last.
#[derive(Clone, Copy, Debug)]
struct Trial {
    since: Instant,
    suspicion: Suspicion,
    /// How many trials run, earlier ones included.
    suspects: usize,
}

impl State {
    /// Whether an attempt may begin. The error is when to ask again, if that is known.
    fn may_begin(
        &self,
        suspicion: Suspicion,
        since: Instant,
        together: usize,
    ) -> Result<(), Option<Instant>> {
        let now = Instant::now();
        let alone = if suspicion == Suspicion::None { ALONE } else { AMONG_SUSPECTS };
        let trial_ends = self.trial.map(|trial| trial.since + alone).filter(|ends| *ends > now);
        if suspicion == Suspicion::None {
            let turn_ends = self.waiting_since.map(|since| since + ALONE).filter(|ends| *ends > now);
            return match trial_ends.max(turn_ends) {
                Some(ends) => Err(Some(ends)),
                None => Ok(()),
            };
        }
        let suspects = self.trial.map_or(0, |trial| trial.suspects);
        if let (Some(ends), Some(trial)) = (trial_ends, self.trial) {
            let joins = suspicion == Suspicion::Shared && trial.suspicion == Suspicion::Shared;
            return if joins && suspects < together { Ok(()) } else { Err(Some(ends)) };
        }
        let wait_ends = since + ALONE;
        if self.unproven > suspects && wait_ends > now { Err(Some(wait_ends)) } else { Ok(()) }
    }
}

/// A suspect that waits. It keeps others from beginning, for [`ALONE`] at most: in a busy process there is always an attempt
/// without progress.
struct Waiting<'a>(&'a Trials);

impl<'a> Waiting<'a> {
    fn begin(trials: &'a Trials) -> Self {
        let mut state = trials.lock();
        state.waiting += 1;
        state.waiting_since.get_or_insert_with(Instant::now);
        Self(trials)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.0.lock();
            state.waiting -= 1;
            if state.waiting > 0 {
                return;
            }
            state.waiting_since = None;
        }
        self.0.0.changed.notify_waiters();
    }
}

/// Whether a generation may have killed a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    None,
    /// It has three attempts left and runs with few others.
    Shared,
    /// It has one or two attempts left and runs alone.
    Alone,
}

impl Suspicion {
    /// After `deaths` attempts in a row died without progress, where `most` end a generation.
    pub(super) fn after(deaths: u32, most: u32) -> Self {
        match most.saturating_sub(deaths) {
            _ if deaths == 0 => Self::None,
            0..=2 => Self::Alone,
            3 => Self::Shared,
            _ => Self::None,
        }
    }
}

/// An attempt without progress. Dropped when it makes progress or ends.
#[derive(Debug)]
pub(crate) struct Unproven {
    trials: Trials,
    suspicion: Suspicion,
}

impl Trials {
    /// For a process with this many slots.
    pub(super) fn new(slots: usize) -> Self {
        let together = (slots / SHARE).max(1);
        Self(Arc::new(Shared { together, state: Mutex::default(), changed: Notify::new() }))
    }

    /// Waits until an attempt may ask its model. Can be dropped and called again.
    pub(super) async fn begin(&self, suspicion: Suspicion) -> Unproven {
        let since = Instant::now();
        let _waiting = (suspicion != Suspicion::None).then(|| Waiting::begin(self));
        loop {
            let mut changed = pin!(self.0.changed.notified());
            // Listen first, look second, so that no change is missed.
            changed.as_mut().enable();
            let again_at = match self.try_begin(suspicion, since) {
                Ok(unproven) => return unproven,
                Err(again_at) => again_at,
            };
            match again_at {
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// The error is when to ask again, if that is known.
    fn try_begin(&self, suspicion: Suspicion, since: Instant) -> Result<Unproven, Option<Instant>> {
        let mut state = self.lock();
        state.may_begin(suspicion, since, self.0.together)?;
        if suspicion != Suspicion::None {
            let now = Instant::now();
            let joined = state.trial.filter(|trial| trial.since + AMONG_SUSPECTS > now);
            let suspects = state.trial.map_or(0, |trial| trial.suspects) + 1;
            let since = joined.map_or(now, |trial| trial.since);
            state.trial = Some(Trial { since, suspicion, suspects });
        }
        state.unproven += 1;
        Ok(Unproven { trials: self.clone(), suspicion })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Unproven {
    fn drop(&mut self) {
        {
            let mut state = self.trials.lock();
            state.unproven -= 1;
            if self.suspicion != Suspicion::None {
                state.trial = state.trial.and_then(|trial| {
                    let suspects = trial.suspects.saturating_sub(1);
                    (suspects > 0).then_some(Trial { suspects, ..trial })
                });
            }
        }
        self.trials.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, poll};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_suspect_is_tried_alone() {
        let trials = Trials::new(8);
        let other = trials.begin(Suspicion::None).await;
        let mut suspect = Box::pin(trials.begin(Suspicion::Alone));
        assert!(poll!(&mut suspect).is_pending(), "another one could be blamed");
        assert!(trials.begin(Suspicion::None).now_or_never().is_none(), "its turn comes");
        drop(other);
        let tried = suspect.await;
        let mut second = Box::pin(trials.begin(Suspicion::Alone));
        let mut other = Box::pin(trials.begin(Suspicion::None));
        assert!(poll!(&mut second).is_pending() && poll!(&mut other).is_pending());
        drop(tried);
        assert!(second.now_or_never().is_some());
        assert!(other.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn suspects_with_three_attempts_left_share_a_part_of_the_slots() {
        let trials = Trials::new(8);
        let first = trials.begin(Suspicion::Shared).await;
        let second = trials.begin(Suspicion::Shared).now_or_never().unwrap();
        assert!(trials.begin(Suspicion::Shared).now_or_never().is_none());
        assert!(trials.begin(Suspicion::Alone).now_or_never().is_none());
        drop((first, second));
        assert!(trials.begin(Suspicion::Alone).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_trial_holds_nobody_up() {
        let trials = Trials::new(8);
        let _tried = trials.begin(Suspicion::Alone).await;
        let began = Instant::now();
        let _other = trials.begin(Suspicion::None).await;
        assert_eq!(began.elapsed(), ALONE);
        let _suspect = trials.begin(Suspicion::Alone).await;
        assert_eq!(began.elapsed(), AMONG_SUSPECTS);
    }

    #[test]
    fn the_last_attempts_are_made_alone() {
        let of = |most| (0..most).map(|deaths| Suspicion::after(deaths, most)).collect::<Vec<_>>();
        let (none, shared, alone) = (Suspicion::None, Suspicion::Shared, Suspicion::Alone);
        assert_eq!(of(5), [none, none, shared, alone, alone]);
        assert_eq!(of(3), [none, alone, alone]);
        assert_eq!(of(1), [none]);
    }

    /// In a process in which there is always an attempt that has said nothing yet.
    #[tokio::test(start_paused = true)]
    async fn a_busy_process_does_not_hold_a_suspect_up() {
        let trials = Trials::new(8);
        let _busy = trials.begin(Suspicion::None).await;
        let began = Instant::now();
        let _suspect = trials.begin(Suspicion::Alone).await;
        assert_eq!(began.elapsed(), ALONE);
    }
}
