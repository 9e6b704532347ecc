//! What is noted of a stream beside its entries: what its attempts came to, its request, and who stores its job.

use std::time::Duration;

use futures::future::join_all;
use testkit::services::{AppendOnly, Redis as Server};
use token_log::redis::{Config, Redis};
use tokenwire_core::{
    GenerationId, LogError, Seq, SystemClock, Timestamp, TokenLog,
    token_log::{
        Attempts, CLAIM_TIME, Hint, JobClaim, OnDisconnect, Ownership, Phase, STORED_TIME, StreamSpec,
    },
};

use crate::support::{
    TEST_TIMEOUT, admin, append, ask, config, created, delta, finished, insist, next, open, read, shared,
    spec, texts,
};

fn noted(number: u32, waiting_until: Option<u64>) -> Attempts {
    Attempts {
        without_progress: number,
        best: 1 << 33,
        asking: true,
        began_at: Timestamp::from_millis(1_763_800_000_000),
        model_waits: 2,
        waiting_until: waiting_until.map(Timestamp::from_millis),
    }
}

async fn phase(log: &Redis, id: GenerationId) -> Phase {
    read(log, id, Seq::START).await.unwrap().phase
}

#[tokio::test]
async fn the_next_attempt_knows_what_the_last_ones_came_to() {
    let (config, log) = shared().await;
    let elsewhere = open(&config);
    let id = created(&log).await;
    let mut first = log.open_writer(id).await.unwrap();
    assert_eq!(first.attempts(), Attempts::default());
    first.record_attempts(noted(1, None), Ownership::Kept).await.unwrap();
    first.append(&[delta("one")]).await.unwrap();
    assert!(phase(&log, id).await.has_owner());
    let mut second = elsewhere.open_writer(id).await.unwrap();
    assert_eq!(second.attempts(), noted(1, None));
    assert!(matches!(first.record_attempts(noted(9, None), Ownership::Kept).await, Err(LogError::Fenced)));
    second.record_attempts(noted(2, None), Ownership::Kept).await.unwrap();
    second.seal(&finished()).await.unwrap();
    assert!(matches!(second.record_attempts(noted(3, None), Ownership::Kept).await, Err(LogError::Sealed)));
    assert_eq!(texts(&log, id).await, ["one"], "readers see no entry of it");
}

#[tokio::test]
async fn who_gives_a_stream_back_is_not_waited_for() {
    let (_, log) = shared().await;
    let id = created(&log).await;
    let mut writer = log.open_writer(id).await.unwrap();
    writer.append(&[]).await.unwrap();
    let mut wakeups = log.wakeups(id).await.unwrap();
    writer.record_attempts(noted(0, Some(1_763_800_030_000)), Ownership::Released).await.unwrap();
    assert!(matches!(next(&mut wakeups).await, Hint::Look), "readers are woken when it waits for its model");
    let Phase::Running { silent_for, waiting_until, .. } = phase(&log, id).await else { panic!("it runs") };
    assert_eq!((silent_for, waiting_until), (Duration::MAX, Some(Timestamp::from_millis(1_763_800_030_000))));
    drop(writer);
    let mut writer = log.open_writer(id).await.unwrap();
    assert_eq!(writer.attempts().model_waits, 2);
    writer.record_attempts(noted(0, None), Ownership::Kept).await.unwrap();
    assert!(matches!(phase(&log, id).await, Phase::Running { waiting_until: None, .. }));
    assert!(phase(&log, id).await.has_owner());
}

#[tokio::test]
async fn attempts_and_request_are_put_back_after_a_loss() {
    let server = Server::start(AppendOnly::No).await;
    let log = open(&config(server.url()));
    let id = GenerationId::fresh();
    let request: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
    let spec = StreamSpec { request: request.clone().into(), ..spec(OnDisconnect::Detached) };
    log.create(id, &spec).await.unwrap();
    let mut writer = log.open_writer(id).await.unwrap();
    writer.append(&[delta("one")]).await.unwrap();
    for (number, ownership) in [(1, Ownership::Kept), (2, Ownership::Released)] {
        server.kill().await;
        server.restart().await;
        let note = noted(number, None);
        insist(async || writer.record_attempts(note, ownership).await.ok()).await;
        assert!(log.spec(id).await.unwrap() == spec);
        assert_eq!(phase(&log, id).await.has_owner(), ownership == Ownership::Kept);
        // What an append puts back is the same.
        if ownership == Ownership::Kept {
            server.kill().await;
            server.restart().await;
            append(&mut *writer, &[delta("two")]).await;
        }
    }
    let next = log.open_writer(id).await.unwrap();
    assert_eq!((next.attempts(), next.so_far().text.as_str()), (noted(2, None), "onetwo"));
    assert_eq!(log.claim_job(id).await.unwrap(), JobClaim::Stored, "its writer works for a job");
}

#[tokio::test]
async fn a_request_is_kept_until_its_stream_is_sealed() {
    let (_, log) = shared().await;
    let id = GenerationId::fresh();
    let spec = StreamSpec {
        request: "a request".into(),
        metadata: "metadata".into(),
        ..spec(OnDisconnect::Detached)
    };
    log.create(id, &spec).await.unwrap();
    assert!(log.spec(id).await.unwrap() == spec);
    assert!(!format!("{spec:?}").contains("a request"));
    let mut writer = log.open_writer(id).await.unwrap();
    writer.append(&[delta("one")]).await.unwrap();
    assert_eq!(log.spec(id).await.unwrap().request, "a request");
    writer.seal(&finished()).await.unwrap();
    let sealed = log.spec(id).await.unwrap();
    assert_eq!((&*sealed.request, &*sealed.metadata), (&b""[..], &b"metadata"[..]));
}

/// As if all that is timed had happened so much earlier.
async fn age(config: &Config, id: GenerationId, by: Duration) {
    let mut admin = admin(&config.url).await;
    let meta = format!("{}:{{{id}}}:meta", config.prefix);
    for field in ["job_at", "job_stored_at"] {
        if let Some(at) = ask::<Option<u64>>(&mut admin, &format!("HGET {meta} {field}")).await {
            let at = at - u64::try_from(by.as_millis()).unwrap();
            ask::<u32>(&mut admin, &format!("HSET {meta} {field} {at}")).await;
        }
    }
}

#[tokio::test]
async fn one_of_many_stores_a_job_again() {
    let (config, log) = shared().await;
    let elsewhere = open(&config);
    let id = created(&log).await;
    assert_eq!(elsewhere.claim_job(id).await.unwrap(), JobClaim::Taken, "its creator's");
    log.job_stored(id).await.unwrap();
    assert_eq!(elsewhere.claim_job(id).await.unwrap(), JobClaim::Stored);
    age(&config, id, STORED_TIME).await;
    for _ in 0..2 {
        let claims = join_all(
            (0..20)
                .map(|number| if number % 2 == 0 { &log } else { &elsewhere })
                .map(async |log| log.claim_job(id).await.unwrap()),
        )
        .await;
        let of = |claim| claims.iter().filter(|&&found| found == claim).count();
        assert_eq!((of(JobClaim::Granted), of(JobClaim::Taken)), (1, 19));
        // The one that had it has died.
        age(&config, id, CLAIM_TIME).await;
    }
    log.job_stored(id).await.unwrap();
    assert_eq!(elsewhere.claim_job(id).await.unwrap(), JobClaim::Stored);

    let unknown = GenerationId::fresh();
    assert!(matches!(log.claim_job(unknown).await, Err(LogError::NotFound(_))));
    log.job_stored(unknown).await.unwrap();
    assert!(matches!(log.spec(unknown).await, Err(LogError::NotFound(_))), "it makes no stream");
}

#[tokio::test]
async fn a_log_may_have_lost_something_for_as_long_as_its_connection_is_young() {
    let server = Server::start(AppendOnly::No).await;
    let log = Redis::new(
        &Config { response_timeout: TEST_TIMEOUT, ..config(server.url()) },
        std::sync::Arc::new(SystemClock),
    )
    .unwrap();
    assert!(log.may_have_lost(), "nothing is known yet");
    log.ready().await.unwrap();
    assert!(log.may_have_lost());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(!log.may_have_lost());
    tokio::time::resume();
    server.kill().await;
    insist(async || log.may_have_lost().then_some(())).await;
}
