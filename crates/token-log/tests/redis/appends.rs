//! Appends of many streams at once, and what they ask besides.

use std::time::Duration;

use futures::future::join_all;
use testkit::services::{AppendOnly, Redis as Server};
use tokenwire_core::{
    CancelCause, GenerationId, LogError, LogWriter, TokenLog,
    token_log::{OnDisconnect, Phase},
};

use crate::support::{
    admin, ask, config, created, delta, finished, insist, leave, open, read, shared, spec, texts,
};

/// They travel together, and stand for themselves.
#[tokio::test]
async fn each_of_the_appends_that_go_together_has_its_own_answer() {
    let (_, log) = shared().await;
    let (fine, sealed, fenced, removed) =
        (created(&log).await, created(&log).await, created(&log).await, created(&log).await);
    let open = async |id| log.open_writer(id).await.unwrap();
    let (mut one, mut two, mut three, mut four) =
        (open(fine).await, open(sealed).await, open(fenced).await, open(removed).await);
    two.seal(&finished()).await.unwrap();
    let _newer = open(fenced).await;
    log.remove(removed).await.unwrap();
    let text = [delta("text")];
    let answers =
        futures::join!(one.append(&text), two.append(&text), three.append(&text), four.append(&text));
    assert!(
        matches!(
            answers,
            (Ok(_), Err(LogError::Sealed), Err(LogError::Fenced), Err(LogError::NotFound(id))) if id == removed
        ),
        "{answers:?}"
    );
    assert_eq!(texts(&log, fine).await, ["text"]);
}

/// More than are taken along at once, in whatever order they are ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_writers_appends_in_order() {
    let (_, log) = shared().await;
    let whole: Vec<_> = (0..5).map(|number| number.to_string()).collect();
    join_all((0..600).map(async |_| {
        let id = created(&log).await;
        let mut writer = log.open_writer(id).await.unwrap();
        for text in &whole {
            writer.append(&[delta(text)]).await.unwrap();
        }
        writer.seal(&finished()).await.unwrap();
        assert_eq!(texts(&log, id).await, whole);
    }))
    .await;
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_told_them_again() {
    let server = Server::start(AppendOnly::No).await;
    let log = open(&config(server.url()));
    let mut admin = admin(&server.url()).await;
    let ids = join_all((0..3).map(async |_| created(&log).await)).await;
    let mut writers = join_all(ids.iter().map(async |id| log.open_writer(*id).await.unwrap())).await;
    for forgets in [false, true, true] {
        if forgets {
            ask::<()>(&mut admin, "SCRIPT FLUSH").await;
        }
        join_all(writers.iter_mut().map(async |writer| writer.append(&[delta("text")]).await.unwrap())).await;
    }
    ask::<()>(&mut admin, "SCRIPT FLUSH").await;
    join_all(writers.iter_mut().map(async |writer| writer.seal(&finished()).await.unwrap())).await;
    for id in ids {
        assert_eq!(texts(&log, id).await, ["text"; 3]);
    }
}

/// Nobody looks at the answer until there is more to append.
#[tokio::test]
async fn what_was_submitted_is_there_after_all_that_its_answer_may_say() {
    let server = Server::start(AppendOnly::No).await;
    let log = open(&config(server.url()));
    let mut admin = admin(&server.url()).await;
    let id = created(&log).await;
    let mut writer = log.open_writer(id).await.unwrap();
    writer.submit(&[delta("1")]).await.unwrap();
    writer.settle().await.unwrap();
    for (command, text) in [("SCRIPT FLUSH", "2"), ("FLUSHALL", "3")] {
        ask::<()>(&mut admin, command).await;
        writer.submit(&[delta(text)]).await.unwrap();
        writer.settle().await.unwrap();
        writer.settle().await.unwrap();
    }
    // As when a generation is ended from outside: its seal comes after what is on its way.
    writer.submit(&[delta("4")]).await.unwrap();
    writer.seal(&finished()).await.unwrap();
    assert!(matches!(writer.submit(&[delta("5")]).await, Err(LogError::Sealed)));
    assert_eq!(texts(&log, id).await, ["1", "2", "3", "4"]);
}

/// A stream without an audience, and the writer of it.
async fn deserted() -> (token_log::redis::Redis, GenerationId, Box<dyn LogWriter>) {
    let (config, log) = shared().await;
    let id = GenerationId::fresh();
    log.create(id, &spec(OnDisconnect::CancelAfter(Duration::from_secs(30)))).await.unwrap();
    let writer = log.open_writer(id).await.unwrap();
    let mut admin = admin(&config.url).await;
    leave(&mut admin, &config, id).await;
    (log, id, writer)
}

#[tokio::test]
async fn a_check_asks_at_once_who_reads() {
    let (_, _, mut writer) = deserted().await;
    writer.append(&[]).await.unwrap();
    assert_eq!(writer.cancellation().cause(), Some(CancelCause::Abandoned));
}

/// The pieces that it appends are its signs of life, and its questions.
#[tokio::test]
async fn a_writer_that_is_never_silent_is_heard_and_hears_that_nobody_reads() {
    let (log, id, mut writer) = deserted().await;
    let cause = insist(async || {
        writer.append(&[delta("text")]).await.unwrap();
        writer.cancellation().cause()
    })
    .await;
    assert_eq!(cause, CancelCause::Abandoned);
    let phase = read(&log, id, tokenwire_core::Seq::START).await.unwrap().phase;
    assert!(matches!(phase, Phase::Running { .. }) && phase.has_owner(), "{phase:?}");
}
