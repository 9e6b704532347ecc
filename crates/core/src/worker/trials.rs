//! Keeps a request that kills its process from taking others with it.
//!
//! An attempt that is *asking* in the log although its owner is gone took its process down, or was in a process that
//! something else took down: its generation is a *suspect*. A suspect is tried alone: it asks the model only when every other
//! generation of this process has got further since it asked, so that none is counted when the process dies once more; and
//! while it waits and while it is tried, no other one begins. A trial ends when the answer gets further, or with the attempt.
//! Each of the two is bounded by [`ALONE`]: then others may begin, so a long prompt does not hold up a whole process.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// How long a trial keeps others from beginning. Longer than a request takes that kills its process as soon as it is asked.
const ALONE: Duration = Duration::from_secs(10);

/// The attempts that ask their models in this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Trials(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Attempts that have got no further since they asked.
    unproven: usize,
    /// Since when a suspect is tried.
    trial: Option<Instant>,
    /// How many suspects wait for their turn, and since when there has been one.
    waiting: usize,
    waiting_since: Option<Instant>,
}

impl State {
    /// Or when to look again, where that is known.
    fn may_begin(&self, suspicion: Suspicion) -> Result<(), Option<Instant>> {
        match suspicion {
            Suspicion::None => {
                let held_up_since = [self.trial, self.waiting_since].into_iter().flatten().max();
                match held_up_since {
                    Some(since) if since.elapsed() < ALONE => Err(Some(since + ALONE)),
                    Some(_) | None => Ok(()),
                }
            }
            Suspicion::Suspect if self.unproven > 0 => Err(None),
            Suspicion::Suspect => Ok(()),
        }
    }
}

/// A suspect that waits. In a busy process there is always an attempt that has got no further yet, so no other attempt begins
/// before it, for [`ALONE`] at most.
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

/// Whether a generation may have taken a process down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    None,
    Suspect,
}

/// An attempt that has got no further yet. Dropped when it has, or when it ends.
#[derive(Debug)]
pub(crate) struct Unproven {
    trials: Trials,
    suspicion: Suspicion,
}

impl Trials {
    /// Waits until an attempt may ask its model. May be dropped and called again.
    pub(super) async fn begin(&self, suspicion: Suspicion) -> Unproven {
        let _waiting = (suspicion == Suspicion::Suspect).then(|| Waiting::begin(self));
        loop {
            let mut changed = pin!(self.0.changed.notified());
            // Before the look: what changes after it is not missed.
            changed.as_mut().enable();
            let again_at = match self.try_begin(suspicion) {
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

    /// Or when to look again, where that is known.
    fn try_begin(&self, suspicion: Suspicion) -> Result<Unproven, Option<Instant>> {
        let mut state = self.lock();
        state.may_begin(suspicion)?;
        if suspicion == Suspicion::Suspect {
            state.trial = Some(Instant::now());
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
            if self.suspicion == Suspicion::Suspect {
                state.trial = None;
            }
        }
        self.trials.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_suspect_is_tried_alone() {
        let trials = Trials::default();
        let other = trials.begin(Suspicion::None).await;
        let mut suspect = Box::pin(trials.begin(Suspicion::Suspect));
        assert!(poll!(&mut suspect).is_pending(), "a crash would be counted for the other one too");
        drop(other);
        let tried = suspect.await;
        let mut second = Box::pin(trials.begin(Suspicion::Suspect));
        let mut other = Box::pin(trials.begin(Suspicion::None));
        assert!(poll!(&mut second).is_pending() && poll!(&mut other).is_pending());
        drop(tried);
        assert!(poll!(&mut other).is_pending(), "a suspect that waits is first");
        drop(second.await);
        assert!(poll!(&mut other).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspect_that_waits_long_does_not_hold_up_other_generations() {
        let trials = Trials::default();
        let _slow = trials.begin(Suspicion::None).await;
        let mut suspect = Box::pin(trials.begin(Suspicion::Suspect));
        assert!(poll!(&mut suspect).is_pending());
        let began = Instant::now();
        let _other = trials.begin(Suspicion::None).await;
        assert_eq!(began.elapsed(), ALONE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_trial_does_not_hold_up_other_generations() {
        let trials = Trials::default();
        let _tried = trials.begin(Suspicion::Suspect).await;
        let began = Instant::now();
        let _other = trials.begin(Suspicion::None).await;
        assert_eq!(began.elapsed(), ALONE);
    }
}
