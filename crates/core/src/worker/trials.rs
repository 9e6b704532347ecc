//! Keeps a request that kills its process from taking others with it.
//!
//! An attempt that is *asking* in the log although its owner is gone took its process down, or was in a process that
//! something else took down: its generation is a *suspect*. A suspect is tried alone: it asks the model only when every other
//! generation of this process has got further since it asked, so that none is counted when the process dies once more; and
//! while it is tried, no other one begins. A trial ends when the answer gets further, or with the attempt. After
//! [`ALONE`] others may begin beside it: a long prompt must not hold up a whole process.

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

/// Who asks the model in this process.
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
}

impl State {
    /// Or when to look again, where that is known.
    fn may_begin(&self, suspicion: Suspicion) -> Result<(), Option<Instant>> {
        match (suspicion, self.trial) {
            (Suspicion::None, Some(since)) if since.elapsed() < ALONE => Err(Some(since + ALONE)),
            (Suspicion::Suspect, _) if self.unproven > 0 => Err(None),
            (Suspicion::None | Suspicion::Suspect, _) => Ok(()),
        }
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
    /// Waits until an attempt may ask its model. Then it has to ask again, with [`Self::begin_now`]: another one may have
    /// been faster. May be dropped and called again.
    pub(super) async fn wait_for_turn(&self, suspicion: Suspicion) {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            // Before the look: what changes after it is not missed.
            changed.as_mut().enable();
            let again_at = match self.lock().may_begin(suspicion) {
                Ok(()) => return,
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

    /// The right to ask the model now; `None` when the attempt has to wait for its turn.
    pub(super) fn begin_now(&self, suspicion: Suspicion) -> Option<Unproven> {
        let mut state = self.lock();
        state.may_begin(suspicion).ok()?;
        if suspicion == Suspicion::Suspect {
            state.trial = Some(Instant::now());
        }
        state.unproven += 1;
        Some(Unproven { trials: self.clone(), suspicion })
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

    async fn begin(trials: &Trials, suspicion: Suspicion) -> Unproven {
        loop {
            trials.wait_for_turn(suspicion).await;
            if let Some(unproven) = trials.begin_now(suspicion) {
                return unproven;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspect_is_tried_alone() {
        let trials = Trials::default();
        let other = begin(&trials, Suspicion::None).await;
        let mut suspect = Box::pin(begin(&trials, Suspicion::Suspect));
        assert!(poll!(&mut suspect).is_pending(), "another one could be blamed");
        drop(other);
        let tried = suspect.await;
        let mut second = Box::pin(begin(&trials, Suspicion::Suspect));
        let mut other = Box::pin(begin(&trials, Suspicion::None));
        assert!(poll!(&mut second).is_pending() && poll!(&mut other).is_pending());
        drop(tried);
        assert!(poll!(&mut other).is_ready());
        assert!(poll!(&mut second).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_trial_does_not_hold_up_other_generations() {
        let trials = Trials::default();
        let _tried = begin(&trials, Suspicion::Suspect).await;
        let began = Instant::now();
        let _other = begin(&trials, Suspicion::None).await;
        assert_eq!(began.elapsed(), ALONE);
    }
}
