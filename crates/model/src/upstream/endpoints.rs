//! The replicas of one upstream: which of them is asked.
//!
//! The one with the fewest of our requests among those that are well. One that fails is set aside, each time for longer, and
//! then asked again by a single request: when that one is answered, it is as good as the others. When all are set aside,
//! the one whose time ends first is asked anyway: the upstream is never refused on hearsay alone.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;
use url::Url;

/// How long a replica is set aside after its first failure; twice as long after each further one.
const ASIDE: Duration = Duration::from_secs(1);

/// The longest: what has come back is in use again within this time.
const MOST_ASIDE: Duration = Duration::from_secs(30);

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

#[derive(Debug, Default)]
struct States {
    each: Vec<State>,
    choices: u64,
}

#[derive(Clone, Debug, Default)]
struct State {
    in_flight: usize,
    /// How often in a row.
    failures: u32,
    aside_until: Option<Instant>,
    /// A request is finding out whether it is well again.
    on_trial: bool,
    /// The number of the choice that chose it last: equals take turns.
    chosen: u64,
}

impl State {
    fn is_well(&self, now: Instant) -> bool {
        self.aside_until.is_none_or(|until| until <= now && !self.on_trial)
    }
}

impl Endpoints {
    /// Replicas at these base URLs.
    pub(super) fn new(base_urls: &[Url]) -> Self {
        let all: Vec<_> = base_urls.iter().map(|url| Arc::new(Endpoint::at(url))).collect();
        let states = States { each: vec![State::default(); all.len()], choices: 0 };
        Self { all, states: Arc::new(Mutex::new(states)) }
    }

    /// The best replica, held until the request is over. `None` when there is none at all.
    pub(super) fn choose(&self) -> Option<Hold> {
        let now = Instant::now();
        let mut states = lock(&self.states);
        states.choices += 1;
        let choice = states.choices;
        let order = |state: &State| {
            let aside_until = (!state.is_well(now)).then_some(state.aside_until);
            (aside_until, state.in_flight, state.chosen)
        };
        let (index, state) = states.each.iter_mut().enumerate().min_by_key(|(_, state)| order(state))?;
        state.in_flight += 1;
        state.chosen = choice;
        let on_trial = state.aside_until.is_some() && !std::mem::replace(&mut state.on_trial, true);
        let endpoint = Arc::clone(self.all.get(index)?);
        Some(Hold { states: Arc::clone(&self.states), index, endpoint, on_trial })
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
pub(super) struct Hold {
    states: Arc<Mutex<States>>,
    index: usize,
    pub(super) endpoint: Arc<Endpoint>,
    on_trial: bool,
}

impl Hold {
    /// The replica answers: it is well.
    pub(super) fn answered(&self) {
        self.with(|state| {
            *state = State { failures: 0, aside_until: None, on_trial: false, ..state.clone() }
        });
    }

    /// The replica failed: it is set aside, for at least so long where it says how long.
    pub(super) fn failed(&self, retry_after: Option<Duration>) {
        let now = Instant::now();
        self.with(|state| {
            // What fails together is one failure.
            if state.aside_until.is_none_or(|until| until <= now) {
                let doublings = state.failures.min(16);
                state.failures = state.failures.saturating_add(1);
                let aside = ASIDE.saturating_mul(1 << doublings).max(retry_after.unwrap_or_default());
                state.aside_until = Some(now + aside.min(MOST_ASIDE));
            }
        });
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        if let Some(state) = lock(&self.states).each.get_mut(self.index) {
            change(state);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let on_trial = self.on_trial;
        self.with(|state| {
            state.in_flight = state.in_flight.saturating_sub(1);
            state.on_trial &= !on_trial;
        });
    }
}

fn lock(states: &Mutex<States>) -> MutexGuard<'_, States> {
    states.lock().expect("nothing panics while it holds the lock")
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn endpoints(count: usize) -> Endpoints {
        let urls: Vec<_> = (0..count).map(|n| format!("http://{n}.test/v1").parse().unwrap()).collect();
        Endpoints::new(&urls)
    }

    fn index(hold: &Hold) -> usize {
        hold.index
    }

    #[test]
    fn a_base_url_is_taken_as_people_write_it() {
        for (base, url, name) in [
            ("http://h:1/v1", "http://h:1/v1/chat/completions", "http://h:1/v1"),
            ("http://h:1/v1/", "http://h:1/v1/chat/completions", "http://h:1/v1/"),
            ("https://h", "https://h/chat/completions", "https://h/"),
            ("https://h/d?api-version=1", "https://h/d/chat/completions?api-version=1", "https://h/d"),
        ] {
            let endpoint = Endpoint::at(&base.parse().unwrap());
            assert_eq!((endpoint.url.as_str(), endpoint.name.as_str()), (url, name));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_go_where_the_fewest_are() {
        let endpoints = endpoints(3);
        let mut holds: Vec<_> = (0..6).map(|_| endpoints.choose().unwrap()).collect();
        let mut chosen: Vec<_> = holds.iter().map(index).collect();
        chosen.sort_unstable();
        assert_eq!(chosen, [0, 0, 1, 1, 2, 2]);
        let freed = index(&holds.remove(3));
        assert_eq!(index(&endpoints.choose().unwrap()), freed);
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_that_are_idle_take_turns() {
        let endpoints = endpoints(2);
        let chosen: Vec<_> = (0..4).map(|_| index(&endpoints.choose().unwrap())).collect();
        assert_eq!(chosen, [0, 1, 0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_is_set_aside_for_longer_each_time_and_tried_by_one_request() {
        let endpoints = endpoints(2);
        let first = endpoints.choose().unwrap();
        assert_eq!(index(&first), 0);
        first.failed(None);
        drop(first);
        for aside in [1, 2, 4, 8, 16, 30, 30] {
            advance(Duration::from_millis(aside * 1000 - 1)).await;
            assert!((0..4).all(|_| index(&endpoints.choose().unwrap()) == 1), "set aside for {aside} s");
            advance(Duration::from_millis(1)).await;
            let trial = endpoints.choose().unwrap();
            assert_eq!(index(&trial), 0, "is tried again");
            assert!((0..4).all(|_| index(&endpoints.choose().unwrap()) == 1), "by one request");
            trial.failed(None);
        }
        advance(MOST_ASIDE).await;
        let trial = endpoints.choose().unwrap();
        trial.answered();
        drop(trial);
        let both: Vec<_> = (0..2).map(|_| endpoints.choose().unwrap()).collect();
        assert_ne!(index(&both[0]), index(&both[1]), "is as good as the other");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_given_up_is_nobodys_verdict() {
        let endpoints = endpoints(2);
        endpoints.choose().unwrap().failed(None);
        let _busy = endpoints.choose().unwrap();
        advance(ASIDE).await;
        let chosen: Vec<_> = (0..3).map(|_| index(&endpoints.choose().unwrap())).collect();
        assert_eq!(chosen, [0, 0, 0], "the next one tries");
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_together_is_one_failure() {
        let endpoints = endpoints(1);
        let holds: Vec<_> = (0..10).map(|_| endpoints.choose().unwrap()).collect();
        for hold in &holds {
            hold.failed(None);
        }
        assert!(!endpoints.any_well());
        drop(holds);
        advance(ASIDE).await;
        assert!(endpoints.any_well());
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_may_say_how_long() {
        let endpoints = endpoints(1);
        endpoints.choose().unwrap().failed(Some(Duration::from_secs(10)));
        advance(Duration::from_secs(9)).await;
        assert!(!endpoints.any_well());
        advance(Duration::from_secs(1)).await;
        assert!(endpoints.any_well());
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_set_aside_the_first_to_come_back_is_asked_anyway() {
        let endpoints = endpoints(2);
        endpoints.choose().unwrap().failed(Some(Duration::from_secs(20)));
        endpoints.choose().unwrap().failed(None);
        assert!(!endpoints.any_well());
        assert_eq!(index(&endpoints.choose().unwrap()), 1);
    }
}
