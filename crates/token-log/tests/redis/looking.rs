//! People look into a stream that somebody writes and reads.

use std::time::Duration;

use tokenwire_core::{
    Attempt, CancelCause, GenerationId, LogError, Seq, TokenLog,
    token_log::{OnDisconnect, Phase, StreamSpec},
};

use crate::support::{admin, ask, delta, finished, insist, leave, read, shared, spec};

#[tokio::test]
async fn a_stream_shows_all_that_is_stored_and_is_not_changed_by_it() {
    let (config, log) = shared().await;
    let id = GenerationId::fresh();
    let spec = spec(OnDisconnect::CancelAfter(Duration::from_secs(30)));
    log.create(id, &StreamSpec { metadata: "a memo".into(), ..spec.clone() }).await.unwrap();
    let mut writer = log.open_writer(id).await.unwrap();
    writer.append(&[delta("one"), delta("two")]).await.unwrap();
    writer.append(&[delta("three")]).await.unwrap();
    log.cancel(id).await.unwrap();
    let seen = log.inspect(id).await.unwrap();
    assert_eq!((seen.attempt, seen.batches, seen.cancelled), (Attempt::new(1), 2, true));
    assert_eq!(seen.entries, read(&log, id, Seq::START).await.unwrap().entries);
    assert_eq!((seen.spec, seen.metadata_bytes), (spec, 6), "of the metadata its size alone");
    assert!(matches!(seen.phase, Phase::Running { .. }));
    writer.seal(&finished()).await.unwrap();
    assert_eq!(log.inspect(id).await.unwrap().phase, Phase::Sealed);

    let unknown = GenerationId::fresh();
    assert!(matches!(log.inspect(unknown).await, Err(LogError::NotFound(id)) if id == unknown));
    let left: Vec<String> =
        ask(&mut admin(&config.url).await, &format!("KEYS {}:{{{unknown}}}*", config.prefix)).await;
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn whoever_looks_is_no_audience() {
    let (config, log) = shared().await;
    let id = GenerationId::fresh();
    log.create(id, &spec(OnDisconnect::CancelAfter(Duration::from_secs(30)))).await.unwrap();
    let mut writer = log.open_writer(id).await.unwrap();
    // The last reader has been away for longer than that.
    leave(&mut admin(&config.url).await, &config, id).await;
    insist(async || log.inspect(id).await.ok()).await;
    writer.append(&[]).await.unwrap();
    assert_eq!(writer.cancellation().cause(), Some(CancelCause::Abandoned));
}
