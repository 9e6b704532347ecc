//! Inspecting a log that a server has open.

use std::fs;

use tokenwire_core::{CallerName, token_log::Phase};

use super::*;
use crate::embedded::{OpenError, inspect};

#[tokio::test]
async fn a_stream_can_be_looked_at_while_the_log_is_open_and_after_it() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    let id = GenerationId::fresh();
    let caller = Caller::Named(CallerName::new("team/blue").unwrap());
    let with_metadata = StreamSpec { caller, metadata: "a memo".into(), ..spec() };
    log.create(id, &with_metadata).await.unwrap();
    let mut first = log.open_writer(id).await.unwrap();
    let (_, mut other) = writing(&log).await;
    first.append(&[started(), delta("Hello")]).await.unwrap();
    other.append(&[delta("somebody else")]).await.unwrap();
    let mut second = log.open_writer(id).await.unwrap();
    first.append(&[delta("late")]).await.unwrap_err();
    second.append(&[delta(" world")]).await.unwrap();
    log.cancel(id).await.unwrap();

    let seen = inspect(dir.path(), id).unwrap().unwrap();
    assert_eq!(seen.entries, entries(&log, id).await, "the text of a fenced writer is nowhere (I3)");
    assert_eq!((seen.attempt, seen.batches, seen.cancelled), (Attempt::new(2), 2, true));
    assert!(matches!(seen.phase, Phase::Running { .. }));
    assert_eq!((seen.spec.created_at, seen.metadata_bytes), (with_metadata.created_at, 6));
    assert_eq!(seen.spec.caller, with_metadata.caller);

    second.seal(&finished()).await.unwrap();
    let all = entries(&log, id).await;
    drop((first, second, other, log));
    let seen = inspect(dir.path(), id).unwrap().unwrap();
    assert_eq!((seen.entries, seen.phase), (all, Phase::Sealed));
    assert!(inspect(dir.path(), GenerationId::fresh()).unwrap().is_none());
}

#[tokio::test]
async fn what_was_removed_is_not_shown() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    let (id, mut writer) = writing(&log).await;
    writer.append(&[delta("before")]).await.unwrap();
    log.remove(id).await.unwrap();
    assert!(inspect(dir.path(), id).unwrap().is_none());
    log.create(id, &spec()).await.unwrap();
    let seen = inspect(dir.path(), id).unwrap().unwrap();
    assert_eq!((seen.entries, seen.attempt), (Vec::new(), Attempt::new(0)));
}

#[tokio::test]
async fn looking_repairs_nothing() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    let (id, mut writer) = writing(&log).await;
    writer.append(&[delta("one")]).await.unwrap();
    drop((writer, log));
    let newest = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path()).max().unwrap();
    let mut torn = fs::read(&newest).unwrap();
    torn.extend_from_slice(b"half a record");
    fs::write(&newest, &torn).unwrap();
    assert_eq!(inspect(dir.path(), id).unwrap().unwrap().entries.len(), 1);
    assert_eq!(fs::read(&newest).unwrap(), torn);
    let nowhere = dir.path().join("nowhere");
    assert!(matches!(inspect(&nowhere, id), Err(OpenError::Journal(_))));
    assert!(!nowhere.exists());
}
