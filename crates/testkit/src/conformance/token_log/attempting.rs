//! What a log notes about the attempts of a stream, and who stores its job.

use tokenwire_core::token_log::{Attempts, JobClaim, Ownership, Phase};

use super::{
    Attempt, Bytes, Duration, Fixture, GenerationId, Seq, StreamSpec, Timestamp, assert_fenced,
    assert_not_found, assert_sealed, delta, finished, spec,
};

fn noted(without_progress: u32) -> Attempts {
    Attempts {
        without_progress,
        best: 1 << 40,
        asking: true,
        began_at: Timestamp::from_millis(1_763_800_000_123),
        model_waits: 7,
        waiting_until: Some(Timestamp::from_millis(1_763_800_009_876)),
    }
}

/// I11: the next attempt finds what this one noted before it asked the model, however this one ended.
pub async fn what_the_attempts_came_to_is_there_for_the_next_one(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    assert_eq!(writer.attempts(), Attempts::default());
    writer.record_attempts(noted(1), Ownership::Kept).await.unwrap();
    writer.append(&[delta("it is no entry")]).await.unwrap();
    drop(writer);
    assert_eq!(fixture.entries(id).await.len(), 1);
    let mut writer = fixture.elsewhere.open_writer(id).await.unwrap();
    assert_eq!((writer.attempt(), writer.attempts()), (Attempt::new(2), noted(1)));
    writer.record_attempts(Attempts::default(), Ownership::Released).await.unwrap();
    assert_eq!(fixture.log.open_writer(id).await.unwrap().attempts(), Attempts::default());
}

pub async fn what_the_attempts_came_to_is_there_after_a_reopen(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    writer.record_attempts(noted(3), Ownership::Kept).await.unwrap();
    drop(writer);
    let fixture = fixture.reopen().await;
    let writer = fixture.log.open_writer(id).await.unwrap();
    assert_eq!((writer.attempt(), writer.attempts()), (Attempt::new(2), noted(3)));
}

/// I3 for what is no entry.
pub async fn an_older_writer_notes_nothing(fixture: Fixture) {
    let (id, mut older) = fixture.writing().await;
    let mut newer = fixture.elsewhere.open_writer(id).await.unwrap();
    assert_fenced(older.record_attempts(noted(1), Ownership::Kept).await);
    assert_fenced(older.record_attempts(noted(1), Ownership::Released).await);
    assert!(fixture.page(id, Seq::START, 1).await.phase.has_owner(), "the newer one is still there");
    newer.record_attempts(noted(2), Ownership::Kept).await.unwrap();
    newer.seal(&finished()).await.unwrap();
    assert_sealed(newer.record_attempts(noted(3), Ownership::Released).await);
}

/// A planned stop: the next worker need not wait until this one is silent.
pub async fn a_writer_that_was_released_is_silent_at_once(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    assert!(fixture.page(id, Seq::START, 1).await.phase.has_owner());
    writer.record_attempts(noted(0), Ownership::Released).await.unwrap();
    let phase = fixture.page(id, Seq::START, 1).await.phase;
    assert!(!phase.has_owner(), "{phase:?}");
    let Phase::Running { waiting_until, .. } = phase else { panic!("an attempt has opened it: {phase:?}") };
    assert_eq!(waiting_until, noted(0).waiting_until);
    drop(writer);
    let _next = fixture.elsewhere.open_writer(id).await.unwrap();
    assert!(fixture.page(id, Seq::START, 1).await.phase.has_owner());
}

pub async fn listeners_are_woken_when_the_model_is_waited_for(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    let mut wakeups = fixture.elsewhere.wakeups(id).await.unwrap();
    writer.record_attempts(noted(0), Ownership::Released).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), wakeups.next()).await.expect("a wake-up");
}

pub async fn the_request_of_a_stream_is_there_until_its_seal(fixture: Fixture) {
    let id = GenerationId::fresh();
    let request = Bytes::from(vec![0xa5; 300_000]);
    let wanted = StreamSpec { request: request.clone(), metadata: "a memo".into(), ..spec(1) };
    fixture.log.create(id, &wanted).await.unwrap();
    assert_eq!(fixture.elsewhere.spec(id).await.unwrap(), wanted);
    let mut writer = fixture.log.open_writer(id).await.unwrap();
    writer.append(&[delta("x")]).await.unwrap();
    assert_eq!(fixture.elsewhere.spec(id).await.unwrap().request, request);
    drop(writer);
    let fixture = fixture.reopen().await;
    assert_eq!(fixture.elsewhere.spec(id).await.unwrap(), wanted);
    fixture.log.open_writer(id).await.unwrap().seal(&finished()).await.unwrap();
    let kept = fixture.elsewhere.spec(id).await.unwrap();
    assert_eq!(StreamSpec { request, ..kept }, wanted, "the rest stays");
}

pub async fn of_many_that_claim_a_job_one_stores_it(fixture: Fixture) {
    let id = fixture.stream().await;
    assert_eq!(fixture.elsewhere.claim_job(id).await.unwrap(), JobClaim::Taken, "its creator's");
    tokio::time::sleep(tokenwire_core::token_log::CLAIM_TIME + Duration::from_millis(200)).await;
    let claims = futures::future::join_all((0..8).map(|number| {
        let log = if number % 2 == 0 { &fixture.log } else { &fixture.elsewhere };
        log.claim_job(id)
    }));
    let claims: Vec<_> = claims.await.into_iter().map(Result::unwrap).collect();
    let yours = claims.iter().filter(|&&claim| claim == JobClaim::Granted).count();
    assert_eq!(yours, 1, "{claims:?}");
    fixture.log.job_stored(id).await.unwrap();
    assert_eq!(fixture.elsewhere.claim_job(id).await.unwrap(), JobClaim::Stored);
    let unknown = GenerationId::fresh();
    assert_not_found(fixture.log.claim_job(unknown).await, unknown);
}
