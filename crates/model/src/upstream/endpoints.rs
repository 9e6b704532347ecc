//! The replicas of one upstream: which of them gets a request, if any. This is the circuit breaker of the upstream.
//!
//! Among the healthy replicas, the one with the fewest requests of this process gets the next one. A failed replica is set
//! aside, each time for longer. When its time is over, a single request tests it. If that succeeds, the replica is healthy
//! again.
//!
//! Meanwhile the reason matters:
//! - **It is busy or cannot be reached** ([`Away`]): it gets no requests. When that is so for all replicas, the breaker is
//!   open: requests get the time to wait at once, until a replica responds.
//! - **It accepted a request and failed**: other replicas are preferred. If there is none, it still gets requests: the
//!   failed request may be the reason, and must not block others.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rand::RngExt;
use tokenwire_core::ModelName;
use tokio::time::Instant;
use url::Url;

use super::{errors::UpstreamError, metrics};

/// How long a replica is set aside after its first failure. Doubles with each further one.
const ASIDE: Duration = Duration::from_secs(1);

/// The longest time: a recovered replica is in use again within it.
const MOST_ASIDE: Duration = Duration::from_secs(30);

/// The longest time for a busy replica that serves requests of this process: it has capacity as soon as one ends.
const MOST_FULL: Duration = Duration::from_secs(5);

/// The longest time that a replica can ask for. It may be wrong.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How long requests wait while another one tests a replica: as long as the test has taken so far, within these bounds.
const TRIAL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// All replicas.
#[derive(Debug)]
pub(super) struct Endpoints {
    all: Vec<Arc<Endpoint>>,
    /// Locked for short, never across an await.
    states: Arc<Mutex<States>>,
}

/// One replica.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Its URL for chat completions.
    pub(super) url: Url,
    /// For logs.
    pub(super) name: String,
}

/// Why a replica gets no requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Away {
    /// It has no capacity.
    Busy,
    /// It cannot be reached or is not up, for this reason.
    Absent(String),
}

/// No replica can get a request.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    /// The time until the first of them can, plus a random part, so that waiting requests do not return all at once.
    pub(super) retry_after: Duration,
    /// Why that one gets no requests yet.
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
    /// How many of those have started to respond.
    answering: usize,
    /// How many failures in a row, of the same kind.
    failures: u32,
    aside: Option<Aside>,
    /// Since when a request tests it.
    trial: Option<Instant>,
    /// The number of its last choice: equal replicas take turns.
    chosen: u64,
}

#[derive(Clone, Debug)]
struct Aside {
    since: Instant,
    until: Instant,
    /// Why it gets no requests until then. `None` if it accepted a request and failed.
    away: Option<Away>,
}

impl State {
    /// Whether it is healthy, or may be tested.
    fn is_well(&self, now: Instant) -> bool {
        self.aside.as_ref().is_none_or(|aside| aside.until <= now && self.trial.is_none())
    }

    fn is_away(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.away.is_some())
    }

    fn may_be_asked(&self, now: Instant) -> bool {
        self.is_well(now) || !self.is_away()
    }

    /// How long it gets no requests, and why, if it is away.
    fn wait(&self, now: Instant) -> Option<(Duration, &Away)> {
        let aside = self.aside.as_ref()?;
        let left = aside.until.saturating_duration_since(now);
        let (least, most) = TRIAL;
        let trial = self.trial.map(|began| now.saturating_duration_since(began).clamp(least, most));
        Some((left.max(trial.unwrap_or_default()), aside.away.as_ref()?))
    }

    /// Records the failure of a request that began at `asked_at`.
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
            // Requests that fail together count as one failure. Only a longer wait of a later one counts.
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

    /// Opens or closes the breaker.
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

/// A change of the breaker.
#[derive(Debug)]
enum Change {
    Opened(Wait),
    /// After this time.
    Closed(Duration),
}

impl Change {
    /// Logged once for each change.
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

    /// Chooses the best replica for a request to this model. Those in `except` had it already.
    ///
    /// # Errors
    /// The time until a replica can get a request, or `None` if one of `except` can now.
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

    /// Whether there is a healthy one.
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
        // Without the query, which may have a key.
        let name = format!("{}{}", base.origin().ascii_serialization(), base.path());
        Self { url, name }
    }
}

/// A request to a replica, from its start to the end of its response.
#[derive(Debug)]
pub(super) struct InFlight {
    states: Arc<Mutex<States>>,
    pub(super) index: usize,
    pub(super) endpoint: Arc<Endpoint>,
    model: ModelName,
    asked_at: Instant,
    /// Whether the replica was healthy when it was chosen.
    pub(super) was_well: bool,
    on_trial: bool,
    answered: bool,
}

impl InFlight {
    /// Records that the replica responds: it is healthy. Only the first call counts.
    pub(super) fn answered(&mut self) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        let asked_at = self.asked_at;
        self.change(|state, _| {
            state.answering += 1;
            // A replica that became busy since then still responds, but has no capacity.
            let is_busy = |aside: &Aside| aside.away == Some(Away::Busy) && asked_at <= aside.since;
            if !state.aside.as_ref().is_some_and(is_busy) {
                (state.failures, state.aside, state.trial) = (0, None, None);
            }
        });
    }

    /// Records that the replica failed: it is set aside, at least for the time that it asks for.
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
            // A later test belongs to another request.
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
