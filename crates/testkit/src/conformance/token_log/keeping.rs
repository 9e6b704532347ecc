//! What was stored is stored.

use tokenwire_core::{CancelCause, token_log::Phase};

use super::{
    Attempt, Created, Fixture, GenerationId, Seq, StreamSpec, TextSoFar, TokenId, assert_not_found,
    assert_sealed, delta, finished, spec, started, token,
};

/// After the log was closed and opened again: entries, seals, attempts, requests to stop, metadata, and what was removed.
pub async fn everything_is_still_there_after_a_reopen(fixture: Fixture) {
    let (sealed, mut writer) = fixture.writing().await;
    writer.append(&[started(1, TextSoFar::Kept), token("all", 1)]).await.unwrap();
    writer.seal(&finished()).await.unwrap();
    let (cut, mut writer) = fixture.writing().await;
    writer.append(&[started(1, TextSoFar::Kept), token("half", 2)]).await.unwrap();
    let (cancelled, _) = fixture.writing().await;
    fixture.log.cancel(cancelled).await.unwrap();
    let (removed, _) = fixture.writing().await;
    fixture.log.remove(removed).await.unwrap();
    let queued = GenerationId::fresh();
    let queued_spec = StreamSpec { metadata: "of the queued one".into(), ..spec(9) };
    fixture.log.create(queued, &queued_spec).await.unwrap();
    let before = [fixture.entries(sealed).await, fixture.entries(cut).await];
    drop(writer);

    let fixture = fixture.reopen().await;
    assert_eq!([fixture.entries(sealed).await, fixture.entries(cut).await], before);
    assert_eq!(fixture.page(sealed, Seq::START, 1).await.phase, Phase::Sealed);
    assert_sealed(fixture.log.open_writer(sealed).await);

    let mut writer = fixture.log.open_writer(cut).await.unwrap();
    assert_eq!(writer.attempt(), Attempt::new(2));
    assert_eq!((writer.so_far().text.as_str(), &*writer.so_far().tokens), ("half", &[TokenId(2)][..]));
    assert_eq!(writer.append(&[delta("!")]).await.unwrap(), Seq::new(3));

    let writer = fixture.log.open_writer(cancelled).await.unwrap();
    assert_eq!(writer.cancellation().cause(), Some(CancelCause::Requested));
    assert_not_found(fixture.log.open_writer(removed).await, removed);

    assert_not_found(fixture.log.spec(removed).await, removed);
    assert_eq!(fixture.log.spec(queued).await.unwrap(), queued_spec);
    let StreamSpec { created_at, start_by, fingerprint, .. } = queued_spec;
    assert_eq!(fixture.page(queued, Seq::START, 1).await.phase, Phase::Queued { created_at, start_by });
    assert_eq!(fixture.log.create(queued, &spec(1)).await.unwrap(), Created::Existing(fingerprint));
}
