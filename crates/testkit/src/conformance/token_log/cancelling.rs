//! A request to stop reaches the writer, now or later.

use tokenwire_core::CancelCause;

use super::{Event, Failure, Fixture, Seq, assert_fenced, assert_sealed, delta, finished};

/// By the next append at the latest, and the next attempt finds it too. The stream can still be sealed.
pub async fn a_cancellation_reaches_the_writer_that_is_open(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    writer.append(&[delta("text")]).await.unwrap();
    assert_eq!(writer.cancellation().cause(), None);
    fixture.elsewhere.cancel(id).await.unwrap();
    writer.append(&[]).await.unwrap();
    assert_eq!(writer.cancellation().cause(), Some(CancelCause::Requested));
    assert_eq!(writer.cancellation().cancelled().await, CancelCause::Requested);
    let next = fixture.log.open_writer(id).await.unwrap();
    assert_eq!(next.cancellation().cause(), Some(CancelCause::Requested));
    assert_fenced(writer.append(&[]).await);
}

/// Of a job that is still queued: its writer knows from the start, and need not ask a model.
pub async fn a_cancellation_waits_for_a_writer(fixture: Fixture) {
    let id = fixture.stream().await;
    fixture.log.cancel(id).await.unwrap();
    let mut writer = fixture.elsewhere.open_writer(id).await.unwrap();
    assert_eq!(writer.cancellation().cause(), Some(CancelCause::Requested));
    let cancelled = Event::Failed { failure: Failure::Cancelled { cause: CancelCause::Requested } };
    writer.seal(&cancelled).await.unwrap();
    assert_eq!(fixture.events(id).await, [cancelled]);
}

/// Cancelling adds no entry, however often.
pub async fn cancelling_twice_is_cancelling_once(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    for _ in 0..3 {
        fixture.log.cancel(id).await.unwrap();
        fixture.elsewhere.cancel(id).await.unwrap();
    }
    // A writer may have more to say before it stops: text that is there should not be lost.
    writer.append(&[delta("last words")]).await.unwrap();
    assert_eq!(writer.cancellation().cause(), Some(CancelCause::Requested));
    assert_eq!(fixture.events(id).await, [delta("last words")]);
}

/// It is over; there is nothing to stop.
pub async fn cancelling_a_sealed_stream_changes_nothing(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    writer.seal(&finished()).await.unwrap();
    let before = fixture.page(id, Seq::START, 10).await;
    fixture.elsewhere.cancel(id).await.unwrap();
    assert_eq!(fixture.page(id, Seq::START, 10).await, before);
    assert_sealed(fixture.log.open_writer(id).await);
}
