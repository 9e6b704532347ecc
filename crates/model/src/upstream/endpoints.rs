//! The replicas of one upstream: which of them is asked, and whether any is. This is the upstream's circuit breaker.
//!
//! The replica with the fewest of our requests is asked, among those that are well. One that fails is set aside, each time for
//! longer. When its time is over, a single request tries it. If that one is answered, the replica is as good as the others.
//!
//! What set it aside decides what happens meanwhile:
//! - **It is busy, or cannot be reached** ([`Away`]): it is not asked. When that is so for all replicas, nothing is asked, and
//!   requests learn at once how long to wait. The breaker is open until one of them is answered.
//! - **It took a request and broke**: the others are preferred. When there is no other, it is asked all the same: the request
//!   may be the reason, and must not keep other requests away.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rand::RngExt;
use tokenwire_core::ModelName;
use tokio::time::Instant;
use url::Url;

use super::{errors::UpstreamError, metrics};

/// How long a replica is set aside after its first failure; twice as long after each further one.
const ASIDE: Duration = Duration::from_secs(1);

/// The longest: what has come back is in use again within this time.
const MOST_ASIDE: Duration = Duration::from_secs(30);

/// The longest for a replica that is busy while it answers requests of ours: it has room again as soon as one of them ends.
const MOST_FULL: Duration = Duration::from_secs(5);

/// The longest that a replica is set aside because it says so: it may be wrong.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How long requests wait while another one tries a replica: as long as that has taken so far, within these bounds.
const TRIAL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// All replicas.
#[derive(Debug)]
pub(super) struct Endpoints {
    all: Vec<Arc<Endpoint>>,
    /// Held for a look at all of them, never across an await.
    states: Arc<Mutex<States>>,
}

/// One replica.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Its chat completions.
    pub(super) url: Url,
    /// For logs.
    pub(super) name: String,
}

/// Why a replica is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Away {
    /// It has no room.
    Busy,
    /// It cannot be reached or is not up, for this reason.
    Absent(String),
}

/// No replica may be asked.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    /// Until the first of them may be, and somewhat longer by chance: what waits for it does not come back all at once.
    pub(super) retry_after: Duration,
    /// Why that one may not be asked yet.
    pub(super) away: Away,
}

#[derive(Debug, Default)]
struct States {
    each: Vec<State>,
    choices: u64,
    /// Since when the breaker is open.
    open_since: Option<Instant>,
}

#[derive(Clone, Debug, Default)]
struct State {
    in_flight: usize,
    /// How many of those are being answered.
    answering: usize,
    /// How often in a row, in the same way.
    failures: u32,
    aside: Option<Aside>,
    /// Since when a request is finding out whether it is well again.
    trial: Option<Instant>,
    /// The number of the choice that chose it last: equals take turns.
    chosen: u64,
}

#[derive(Clone, Debug)]
struct Aside {
    since: Instant,
    until: Instant,
    /// Why it is not asked before that; `None` for one that took a request and broke.
    away: Option<Away>,
}

impl State {
    /// Whether it is as good as any, or its turn to be tried.
    fn is_well(&self, now: Instant) -> bool {
        self.aside.as_ref().is_none_or(|aside| aside.until <= now && self.trial.is_none())
    }

    fn is_away(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.away.is_some())
    }

    fn may_be_asked(&self, now: Instant) -> bool {
        self.is_well(now) || !self.is_away()
    }

    /// How long it is not to be asked, and why, if it is away.
    fn wait(&self, now: Instant) -> Option<(Duration, &Away)> {
        let aside = self.aside.as_ref()?;
        let left = aside.until.saturating_duration_since(now);
        let (least, most) = TRIAL;
        let trial = self.trial.map(|began| now.saturating_duration_since(began).clamp(least, most));
        Some((left.max(trial.unwrap_or_default()), aside.away.as_ref()?))
    }

    /// A request that was begun at `asked_at` failed.
    fn set_aside(
        &mut self,
        now: Instant,
        asked_at: Instant,
        away: Option<Away>,
        asked_for: Option<Duration>,
    ) {
        let asked_for = asked_for.unwrap_or_default().min(MOST_RETRY_AFTER);
        if let Some(aside) = &mut self.aside
            && (now < aside.until || asked_at <= aside.since)
            && (aside.away.is_some() || away.is_none())
        {
            // Requests that fail together are one failure. Only a longer wait is taken from the later ones.
            aside.until = aside.until.max(now + asked_for);
            return;
        }
        if self.aside.as_ref().is_some_and(|aside| aside.away.is_some() != away.is_some()) {
            self.failures = 0;
        }
        let is_full = away == Some(Away::Busy) && self.answering > 0;
        let most = if is_full { MOST_FULL } else { MOST_ASIDE };
        let aside = ASIDE.saturating_mul(1 << self.failures.min(16)).min(most).max(asked_for);
        self.failures = self.failures.saturating_add(1);
        self.aside = Some(Aside { since: now, until: now + aside, away });
    }
}

impl States {
    /// How long until a replica may be asked: zero when one may be now.
    fn wait(&self, now: Instant) -> Option<Wait> {
        if self.each.iter().any(|state| state.may_be_asked(now)) {
            return None;
        }
        let waits = self.each.iter().filter_map(|state| state.wait(now));
        let (left, away) = waits.min_by_key(|(left, _)| *left)?;
        let most = (left / 4).clamp(Duration::from_millis(100), Duration::from_secs(2));
        let retry_after = left + most.mul_f64(rand::rng().random_range(0.0..=1.0));
        Some(Wait { retry_after, away: away.clone() })
    }

    /// Opens or closes the breaker, if that follows from how the replicas are.
    fn look(&mut self, now: Instant) -> Option<Change> {
        match self.open_since {
            None => {
                let wait = self.wait(now)?;
                self.open_since = Some(now);
                Some(Change::Opened(wait))
            }
            Some(_) if self.each.iter().all(State::is_away) => None,
            Some(since) => {
                self.open_since = None;
                Some(Change::Closed(now.saturating_duration_since(since)))
            }
        }
    }
}

/// What became of the breaker.
#[derive(Debug)]
enum Change {
    Opened(Wait),
    /// After this time.
    Closed(Duration),
}

impl Change {
    /// Once for each, however many requests wait.
    fn report(self, model: &ModelName, upstream: &str) {
        match self {
            Self::Opened(Wait { retry_after, away }) => {
                metrics::away(model, true);
                let why = match &away {
                    Away::Busy => "it is busy",
                    Away::Absent(cause) => cause.as_str(),
                };
                tracing::warn!(%model, upstream, why, ?retry_after, "the model is busy or away; its prompts wait");
            }
            Self::Closed(after) => {
                metrics::away(model, false);
                tracing::info!(%model, upstream, ?after, "the model answers again");
            }
        }
    }
}

impl Endpoints {
    /// Replicas at these base URLs.
    pub(super) fn new(base_urls: &[Url]) -> Self {
        let all: Vec<_> = base_urls.iter().map(|url| Arc::new(Endpoint::at(url))).collect();
        let states = States { each: vec![State::default(); all.len()], ..States::default() };
        Self { all, states: Arc::new(Mutex::new(states)) }
    }

    /// The best replica for a request to this model, held until the request is over. Those in `except` were asked already.
    ///
    /// # Errors
    /// When there is none: how long until one of all may be asked. Nothing, where one of `except` may be now.
    pub(super) fn choose(&self, model: &ModelName, except: &[usize]) -> Result<InFlight, Option<Wait>> {
        let now = Instant::now();
        let mut states = lock(&self.states);
        states.choices += 1;
        let choice = states.choices;
        let order = |state: &State| {
            let aside_until = state.aside.as_ref().filter(|_| !state.is_well(now)).map(|aside| aside.until);
            (aside_until, state.in_flight, state.chosen)
        };
        let chosen = states
            .each
            .iter_mut()
            .enumerate()
            .filter(|(index, state)| state.may_be_asked(now) && !except.contains(index))
            .min_by_key(|(_, state)| order(state))
            .and_then(|(index, state)| Some((index, state, self.all.get(index)?)));
        let Some((index, state, endpoint)) = chosen else { return Err(states.wait(now)) };
        state.in_flight += 1;
        state.chosen = choice;
        let was_well = state.aside.is_none();
        let on_trial = !was_well && state.trial.is_none();
        if on_trial {
            state.trial = Some(now);
        }
        let (endpoint, model) = (Arc::clone(endpoint), model.clone());
        let states = Arc::clone(&self.states);
        Ok(InFlight { states, index, endpoint, model, asked_at: now, was_well, on_trial, answered: false })
    }

    /// Whether there is one that is well.
    pub(super) fn any_well(&self) -> bool {
        let now = Instant::now();
        lock(&self.states).each.iter().any(|state| state.is_well(now))
    }
}

impl Endpoint {
    fn at(base: &Url) -> Self {
        let mut url = base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["chat", "completions"]);
        }
        // Without its query, which is where some services take a key.
        let name = format!("{}{}", base.origin().ascii_serialization(), base.path());
        Self { url, name }
    }
}

/// One request to a replica, from its beginning to the end of its answer.
#[derive(Debug)]
pub(super) struct InFlight {
    states: Arc<Mutex<States>>,
    pub(super) index: usize,
    pub(super) endpoint: Arc<Endpoint>,
    model: ModelName,
    asked_at: Instant,
    /// The replica was not set aside when it was chosen.
    pub(super) was_well: bool,
    on_trial: bool,
    answered: bool,
}

impl InFlight {
    /// The replica answers: it is well. Only the first answer counts.
    pub(super) fn answered(&mut self) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        let asked_at = self.asked_at;
        self.change(|state, _| {
            state.answering += 1;
            // One that has become busy since then answers what it has, and has no room for more.
            let is_busy = |aside: &Aside| aside.away == Some(Away::Busy) && asked_at <= aside.since;
            if !state.aside.as_ref().is_some_and(is_busy) {
                (state.failures, state.aside, state.trial) = (0, None, None);
            }
        });
    }

    /// The replica failed: it is set aside, for at least so long where it says how long.
    pub(super) fn failed(&self, fault: &UpstreamError) {
        self.change(|state, now| state.set_aside(now, self.asked_at, fault.away(), fault.retry_after()));
    }

    /// How long until a replica may be asked: zero when one may be now.
    pub(super) fn wait(&self) -> Duration {
        let wait = lock(&self.states).wait(Instant::now());
        wait.map(|wait| wait.retry_after).unwrap_or_default()
    }

    fn change(&self, change: impl FnOnce(&mut State, Instant)) {
        let now = Instant::now();
        let changed = {
            let mut states = lock(&self.states);
            if let Some(state) = states.each.get_mut(self.index) {
                change(state, now);
            }
            states.look(now)
        };
        if let Some(changed) = changed {
            changed.report(&self.model, &self.endpoint.name);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(state) = lock(&self.states).each.get_mut(self.index) {
            state.in_flight = state.in_flight.saturating_sub(1);
            state.answering = state.answering.saturating_sub(usize::from(self.answered));
            // A later trial is not ours to end.
            if self.on_trial && state.trial == Some(self.asked_at) {
                state.trial = None;
            }
        }
    }
}

fn lock(states: &Mutex<States>) -> MutexGuard<'_, States> {
    states.lock().expect("nothing panics while it holds the lock")
}

#[cfg(test)]
mod tests;
