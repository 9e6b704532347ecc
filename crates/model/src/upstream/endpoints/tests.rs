use ::metrics::{Counter, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use reqwest::StatusCode;
use tokio::time::advance;

use super::*;
use crate::upstream::errors::Taken;

fn endpoints(count: usize) -> Endpoints {
    let urls: Vec<_> = (0..count).map(|n| format!("http://{n}.test/v1").parse().unwrap()).collect();
    Endpoints::new(&urls)
}

fn try_choose(endpoints: &Endpoints) -> Result<InFlight, Option<Wait>> {
    endpoints.choose(&ModelName::new("m").unwrap(), &[])
}

fn choose(endpoints: &Endpoints) -> InFlight {
    try_choose(endpoints).unwrap()
}

fn chosen(endpoints: &Endpoints) -> usize {
    choose(endpoints).index
}

/// How long to wait, when no replica may be asked.
fn wait(endpoints: &Endpoints) -> Wait {
    try_choose(endpoints).unwrap_err().unwrap()
}

fn busy(retry_after: Option<u64>) -> UpstreamError {
    let retry_after = retry_after.map(Duration::from_secs);
    UpstreamError::Busy { status: StatusCode::SERVICE_UNAVAILABLE, retry_after }
}

fn absent() -> UpstreamError {
    UpstreamError::Absent { cause: "connection refused".into(), retry_after: None, taken: Taken::No }
}

fn broken() -> UpstreamError {
    UpstreamError::broken("it answered 500")
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const TICK: Duration = Duration::from_millis(1);

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
    let mut holds: Vec<_> = (0..6).map(|_| choose(&endpoints)).collect();
    let mut indexes: Vec<_> = holds.iter().map(|in_flight| in_flight.index).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 0, 1, 1, 2, 2]);
    let freed = holds.remove(3).index;
    assert_eq!(chosen(&endpoints), freed);
}

#[tokio::test(start_paused = true)]
async fn replicas_that_are_idle_take_turns() {
    let endpoints = endpoints(2);
    let indexes: Vec<_> = (0..4).map(|_| chosen(&endpoints)).collect();
    assert_eq!(indexes, [0, 1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_is_set_aside_for_longer_each_time_and_tried_by_one_request() {
    for fault in [busy(None), absent(), broken()] {
        let endpoints = endpoints(2);
        let first = choose(&endpoints);
        assert_eq!(first.index, 0);
        first.failed(&fault);
        drop(first);
        for aside in [1, 2, 4, 8, 16, 30, 30] {
            advance(Duration::from_millis(aside * 1000 - 1)).await;
            assert!((0..4).all(|_| chosen(&endpoints) == 1), "set aside for {aside} s");
            advance(TICK).await;
            let trial = choose(&endpoints);
            assert_eq!(trial.index, 0, "is tried again");
            assert!((0..4).all(|_| chosen(&endpoints) == 1), "by one request");
            trial.failed(&fault);
        }
        advance(MOST_ASIDE).await;
        let mut trial = choose(&endpoints);
        trial.answered();
        drop(trial);
        let both: Vec<_> = (0..2).map(|_| choose(&endpoints)).collect();
        assert_ne!(both[0].index, both[1].index, "is as good as the other");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_is_given_up_is_no_verdict() {
    let endpoints = endpoints(2);
    choose(&endpoints).failed(&broken());
    let _other = choose(&endpoints);
    advance(ASIDE).await;
    let indexes: Vec<_> = (0..3).map(|_| chosen(&endpoints)).collect();
    assert_eq!(indexes, [0, 0, 0], "the next one tries");
}

#[tokio::test(start_paused = true)]
async fn what_fails_together_is_one_failure() {
    let endpoints = endpoints(1);
    let holds: Vec<_> = (0..10).map(|_| choose(&endpoints)).collect();
    for in_flight in &holds {
        in_flight.failed(&absent());
    }
    advance(ASIDE).await;
    let trial = choose(&endpoints);
    // Asked before the replica was set aside, and late to fail.
    holds[9].failed(&absent());
    drop(trial);
    assert_eq!(chosen(&endpoints), 0);
}

#[tokio::test(start_paused = true)]
async fn when_all_are_busy_or_absent_none_is_asked_and_the_time_to_wait_is_that_of_the_first() {
    let endpoints = endpoints(2);
    choose(&endpoints).failed(&busy(Some(20)));
    choose(&endpoints).failed(&absent());
    let Wait { retry_after, away } = wait(&endpoints);
    assert!((secs(1)..=secs(1) + secs(1) / 4).contains(&retry_after), "{retry_after:?}");
    assert_eq!(away, Away::Absent("connection refused".into()));
    advance(retry_after).await;
    let trial = choose(&endpoints);
    assert_eq!(trial.index, 1);
    trial.failed(&busy(Some(60)));
    drop(trial);
    let Wait { retry_after, away } = wait(&endpoints);
    assert!((secs(18)..=secs(21)).contains(&retry_after), "{retry_after:?}: until the other");
    assert_eq!(away, Away::Busy);
}

#[tokio::test(start_paused = true)]
async fn waits_are_not_the_same_for_all() {
    let endpoints = endpoints(1);
    choose(&endpoints).failed(&busy(Some(10)));
    let waits: Vec<_> = (0..100).map(|_| wait(&endpoints).retry_after).collect();
    assert!(waits.iter().all(|wait| (secs(10)..=secs(12)).contains(wait)));
    assert!(waits.iter().max().unwrap().saturating_sub(*waits.iter().min().unwrap()) > secs(1));
}

#[tokio::test(start_paused = true)]
async fn when_the_time_is_over_a_single_request_is_sent_and_its_answer_lets_all_in() {
    let endpoints = endpoints(1);
    choose(&endpoints).failed(&absent());
    advance(ASIDE).await;
    let mut trial = choose(&endpoints);
    let shortly = wait(&endpoints).retry_after;
    assert!((TRIAL.0..=secs(1)).contains(&shortly), "{shortly:?}");
    advance(secs(60)).await;
    let later = wait(&endpoints).retry_after;
    assert!(
        (TRIAL.1..=secs(7)).contains(&later),
        "{later:?}: a trial that takes long is not asked after all the time"
    );
    trial.answered();
    let all: Vec<_> = (0..10).map(|_| choose(&endpoints)).collect();
    assert!(all.iter().all(|in_flight| in_flight.was_well));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_breaks_its_upstream_keeps_no_other_away() {
    let endpoints = endpoints(2);
    for _ in 0..10 {
        choose(&endpoints).failed(&broken());
        assert!(try_choose(&endpoints).is_ok());
    }
    assert!(!endpoints.any_well());
    // One that cannot be reached is another matter, from its first failure on.
    choose(&endpoints).failed(&absent());
    choose(&endpoints).failed(&absent());
    let wait = wait(&endpoints).retry_after;
    assert!(wait <= secs(2), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn a_replica_may_say_how_long_and_not_for_good() {
    for (told, aside) in [(10, 10), (0, 1), (1_000_000, 300)] {
        let endpoints = endpoints(1);
        choose(&endpoints).failed(&busy(Some(told)));
        advance(Duration::from_millis(aside * 1000 - 1)).await;
        assert!(try_choose(&endpoints).is_err(), "{told}");
        advance(TICK).await;
        assert!(try_choose(&endpoints).is_ok(), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_word_on_how_long_counts() {
    let endpoints = endpoints(1);
    let (first, second) = (choose(&endpoints), choose(&endpoints));
    first.failed(&busy(None));
    second.failed(&busy(Some(10)));
    drop((first, second));
    advance(secs(9)).await;
    assert!(try_choose(&endpoints).is_err());
    advance(secs(1)).await;
    assert!(try_choose(&endpoints).is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_full_is_asked_again_sooner_than_one_that_is_down() {
    let endpoints = endpoints(1);
    let mut running = choose(&endpoints);
    running.answered();
    for _ in 0..8 {
        choose(&endpoints).failed(&busy(None));
        let wait = wait(&endpoints).retry_after;
        assert!(wait <= MOST_FULL + MOST_FULL / 4, "{wait:?}");
        advance(MOST_FULL).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_an_older_request_makes_no_room_at_a_replica_that_has_become_full() {
    let endpoints = endpoints(1);
    let (mut older, newer) = (choose(&endpoints), choose(&endpoints));
    newer.failed(&busy(Some(60)));
    older.answered();
    assert!(try_choose(&endpoints).is_err());
    // It does show that a replica can be reached.
    let endpoints = self::endpoints(1);
    let (mut older, newer) = (choose(&endpoints), choose(&endpoints));
    newer.failed(&absent());
    older.answered();
    assert!(try_choose(&endpoints).is_ok());
}

/// What the gauge was set to, in turn.
#[derive(Debug, Default)]
struct Gauges(Arc<Mutex<Vec<(String, f64)>>>);

#[derive(Debug)]
struct Gauge(String, Arc<Mutex<Vec<(String, f64)>>>);

impl GaugeFn for Gauge {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        self.1.lock().unwrap().push((self.0.clone(), value));
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> ::metrics::Gauge {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Gauge(format!("{} {}", key.name(), labels.join(" ")), Arc::clone(&self.0))).into()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_once_when_it_begins_and_once_when_it_ends() {
    let gauges = Gauges::default();
    let told = Arc::clone(&gauges.0);
    let _recording = ::metrics::set_default_local_recorder(&gauges);
    let endpoints = endpoints(2);
    let all: Vec<_> = (0..10).map(|_| choose(&endpoints)).collect();
    for in_flight in all.iter().filter(|in_flight| in_flight.index == 0) {
        in_flight.failed(&busy(None));
    }
    assert!(told.lock().unwrap().is_empty(), "the other replica is well");
    for in_flight in &all {
        in_flight.failed(&absent());
    }
    drop(all);
    for _ in 0..5 {
        advance(MOST_ASIDE).await;
        choose(&endpoints).failed(&absent());
        choose(&endpoints).failed(&absent());
        assert!(try_choose(&endpoints).is_err());
    }
    advance(MOST_ASIDE).await;
    for _ in 0..5 {
        choose(&endpoints).answered();
    }
    let name = || "tokenwire_upstream_unavailable model=m".to_owned();
    assert_eq!(*told.lock().unwrap(), [(name(), 1.0), (name(), 0.0)]);
}
