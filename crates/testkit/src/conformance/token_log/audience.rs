//! A generation without readers ends.

use tokenwire_core::{CancelCause, token_log::PRESENCE_TTL};
use tokio::time::{Instant, sleep};

use super::{
    Duration, Event, Failure, Fixture, GenerationId, OnDisconnect, StreamSpec, delta, finished, spec,
};

/// How long each stream is watched: more than the time after which silent readers count as gone.
const WATCH: Duration = Duration::from_secs(PRESENCE_TTL.as_secs() + 3);

/// Cancelled as abandoned: a stream whose readers went away, and one that was never read, whether a writer watches or
/// opens later. Left alone: one that is attended, one that is detached. All at once, because time may be real here.
pub async fn only_an_absent_audience_cancels(fixture: Fixture) {
    futures::join!(
        left_alone(&fixture, OnDisconnect::CancelAfter(Duration::ZERO), Audience::Stays),
        left_alone(&fixture, OnDisconnect::CancelAfter(Duration::from_secs(3600)), Audience::Absent),
        left_alone(&fixture, OnDisconnect::Detached, Audience::Absent),
        abandoned(&fixture, Audience::Absent),
        abandoned(&fixture, Audience::Leaves),
        abandoned_while_queued(&fixture),
    );
}

#[derive(Clone, Copy, PartialEq)]
enum Audience {
    Absent,
    Leaves,
    Stays,
}

async fn stream(fixture: &Fixture, on_disconnect: OnDisconnect) -> GenerationId {
    let id = GenerationId::fresh();
    fixture.log.create(id, &StreamSpec { on_disconnect, ..spec(1) }).await.unwrap();
    id
}

async fn left_alone(fixture: &Fixture, on_disconnect: OnDisconnect, audience: Audience) {
    let id = stream(fixture, on_disconnect).await;
    let mut writer = fixture.log.open_writer(id).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < WATCH {
        if audience == Audience::Stays {
            fixture.elsewhere.touch_presence(id).await.unwrap();
        }
        writer.append(&[delta("text")]).await.unwrap();
        assert_eq!(writer.cancellation().cause(), None, "{on_disconnect:?}");
        sleep(Duration::from_millis(500)).await;
    }
    writer.seal(&finished()).await.unwrap();
    // Readers of a stream that has ended keep nothing alive, and break nothing.
    fixture.elsewhere.touch_presence(id).await.unwrap();
}

async fn abandoned(fixture: &Fixture, audience: Audience) {
    let created = Instant::now();
    let id = stream(fixture, OnDisconnect::CancelAfter(Duration::from_secs(1))).await;
    let mut writer = fixture.log.open_writer(id).await.unwrap();
    let mut last_seen = created;
    if audience == Audience::Leaves {
        sleep(Duration::from_secs(2)).await;
        last_seen = Instant::now();
        fixture.elsewhere.touch_presence(id).await.unwrap();
    }
    let cause = loop {
        assert!(last_seen.elapsed() < WATCH * 4, "the log did not notice that the readers have gone");
        sleep(Duration::from_millis(250)).await;
        writer.append(&[delta("text")]).await.unwrap();
        if let Some(cause) = writer.cancellation().cause() {
            break cause;
        }
    };
    assert_eq!(cause, CancelCause::Abandoned);
    assert!(
        last_seen.elapsed() >= PRESENCE_TTL + Duration::from_secs(1),
        "its readers had time to come back"
    );
    writer.seal(&Event::Failed { failure: Failure::Cancelled { cause } }).await.unwrap();
}

async fn abandoned_while_queued(fixture: &Fixture) {
    let id = stream(fixture, OnDisconnect::CancelAfter(Duration::ZERO)).await;
    sleep(WATCH).await;
    let mut writer = fixture.log.open_writer(id).await.unwrap();
    writer.append(&[]).await.unwrap();
    assert_eq!(writer.cancellation().cause(), Some(CancelCause::Abandoned));
}
