//! One writer owns a stream (I3), whatever the server remembers.

use tokenwire_core::{LogError, TokenLog, token_log::Hint};

use crate::support::{admin, ask, created, delta, finished, next, shared, texts};

#[tokio::test]
async fn the_text_of_a_fenced_writer_reaches_nobody() {
    let (_, log) = shared().await;
    let id = created(&log).await;
    let mut wakeups = log.wakeups(id).await.unwrap();
    let mut old = log.open_writer(id).await.unwrap();
    let mut new = log.open_writer(id).await.unwrap();
    assert!(matches!(old.append(&[delta("old")]).await, Err(LogError::Fenced)));
    assert!(matches!(old.seal(&finished()).await, Err(LogError::Fenced)));
    new.append(&[delta("new")]).await.unwrap();
    let Hint::Appended { entries, .. } = next(&mut wakeups).await else { panic!("the entries themselves") };
    assert_eq!(entries[0].event, delta("new"));
    assert_eq!(texts(&log, id).await, ["new"]);
}

#[tokio::test]
async fn an_old_writer_stays_fenced_when_the_server_issues_its_number_again() {
    let (config, log) = shared().await;
    let id = created(&log).await;
    let mut old = log.open_writer(id).await.unwrap();
    // What a restart from an older state does.
    let mut admin = admin(&config.url).await;
    ask::<u32>(&mut admin, &format!("HSET {}:{{{id}}}:meta attempt 0", config.prefix)).await;
    let mut new = log.open_writer(id).await.unwrap();
    assert_eq!(old.attempt(), new.attempt());
    assert!(matches!(old.append(&[delta("old")]).await, Err(LogError::Fenced)));
    new.append(&[delta("new")]).await.unwrap();
    assert_eq!(texts(&log, id).await, ["new"]);
}
