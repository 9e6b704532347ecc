//! The server goes away, comes back, or says no.

use std::time::Duration;

use testkit::services::{AppendOnly, Redis as Server};
use token_log::redis::{Config, Redis};
use tokenwire_core::{
    CancelCause, GenerationId, LogError, LogWriter, Seq, SystemClock, TokenLog, token_log::OnDisconnect,
};

use crate::support::{
    admin, append, ask, config, created, delta, explain, finished, follow_by_hints, insist, leave, open,
    read, shared, spec, texts,
};

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, LogError>) -> String {
    let error = outcome.unwrap_err();
    assert!(matches!(error, LogError::Unavailable(_)), "{error:?}");
    explain(&error)
}

async fn ready(log: &Redis) {
    insist(async || log.ready().await.ok()).await;
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_waited_for() {
    let server = Server::start(AppendOnly::No).await;
    server.kill().await;
    let log = open(&config(server.url()));
    let reason = unavailable(log.ready().await);
    assert!(reason.contains(&format!("cannot connect to redis at 127.0.0.1:{}", server.port())), "{reason}");
    server.restart().await;
    ready(&log).await;
}

#[tokio::test]
async fn everything_fails_as_unavailable_during_an_outage_and_works_again_after_it() {
    let server = Server::start(AppendOnly::Yes).await;
    let log = open(&config(server.url()));
    let id = created(&log).await;
    let mut writer = log.open_writer(id).await.unwrap();
    server.kill().await;
    unavailable(log.create(id, &spec(OnDisconnect::Detached)).await);
    unavailable(log.open_writer(id).await);
    unavailable(read(&log, id, Seq::START).await);
    unavailable(log.wakeups(id).await);
    unavailable(log.cancel(id).await);
    unavailable(log.touch_presence(id).await);
    unavailable(log.remove(id).await);
    unavailable(log.ready().await);
    unavailable(writer.append(&[delta("one")]).await);
    server.restart().await;
    append(&mut *writer, &[delta("one")]).await;
    writer.seal(&finished()).await.unwrap();
    assert_eq!(texts(&log, id).await, ["one"]);
    log.wakeups(id).await.unwrap();
    log.ready().await.unwrap();
}

#[tokio::test]
async fn a_reader_loses_nothing_to_a_killed_server() {
    let server = Server::start(AppendOnly::Yes).await;
    let config = config(server.url());
    let (readers, writers) = (open(&config), open(&config));
    let id = created(&writers).await;
    let write = async {
        let mut writer = insist(async || writers.open_writer(id).await.ok()).await;
        for number in 0..60 {
            append(&mut *writer, &[delta(&number)]).await;
            if number % 20 == 10 {
                server.kill().await;
                server.restart().await;
            }
        }
        insist(async || writer.seal(&finished()).await.ok()).await
    };
    let (sealed, seen) = futures::join!(write, follow_by_hints(&readers, id));
    let whole: Vec<_> = (1..=sealed.get()).map(Seq::new).collect();
    assert_eq!(seen.iter().map(|entry| entry.seq).collect::<Vec<_>>(), whole);
}

#[tokio::test]
async fn batches_are_there_once_however_often_the_connection_is_cut() {
    let server = Server::start(AppendOnly::No).await;
    let config = config(server.url());
    let (readers, writers) = (open(&config), open(&config));
    let id = created(&writers).await;
    let mut admin = admin(&server.url()).await;
    let write = async {
        let mut writer = insist(async || writers.open_writer(id).await.ok()).await;
        for number in 0..200 {
            append(&mut *writer, &[delta(&number)]).await;
        }
        insist(async || writer.seal(&finished()).await.ok()).await;
    };
    let cut = async {
        for _ in 0..10 {
            ask::<i64>(&mut admin, "CLIENT KILL TYPE normal SKIPME yes").await;
            ask::<i64>(&mut admin, "CLIENT KILL TYPE pubsub").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    futures::join!(write, cut, follow_by_hints(&readers, id));
    let expected: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    assert_eq!(texts(&readers, id).await, expected);
}

/// A writer that gave up waiting for the append of `one`, which the server then executed; and who can see that.
async fn unanswered(server: &Server) -> (Redis, GenerationId, Box<dyn LogWriter>) {
    let config = config(server.url());
    let reader = open(&config);
    // Once for the server to know the scripts: it would refuse the calls below, and execute nothing.
    let mut writer = reader.open_writer(created(&reader).await).await.unwrap();
    writer.append(&[delta("one")]).await.unwrap();
    writer.seal(&finished()).await.unwrap();

    let worker = open(&Config { response_timeout: Duration::from_secs(1), ..config });
    let id = created(&reader).await;
    let mut writer = insist(async || worker.open_writer(id).await.ok()).await;
    server.pause();
    unavailable(writer.append(&[delta("one")]).await);
    server.resume();
    last_seq_is(&reader, id, 1).await;
    (reader, id, writer)
}

async fn last_seq_is(log: &Redis, id: GenerationId, last_seq: u64) {
    insist(async || read(log, id, Seq::START).await.ok().filter(|page| page.last_seq == Seq::new(last_seq)))
        .await;
}

#[tokio::test]
async fn what_is_executed_after_its_writer_gave_up_waiting_is_not_repeated() {
    let server = Server::start(AppendOnly::No).await;
    let (log, id, mut writer) = unanswered(&server).await;
    assert_eq!(append(&mut *writer, &[delta("one")]).await, Seq::new(1));
    server.pause();
    unavailable(writer.seal(&finished()).await);
    server.resume();
    last_seq_is(&log, id, 2).await;
    assert_eq!(insist(async || writer.seal(&finished()).await.ok()).await, Seq::new(2));
    assert!(matches!(writer.seal(&finished()).await, Err(LogError::Sealed)));
    assert_eq!(texts(&log, id).await, ["one"]);
}

#[tokio::test]
async fn a_seal_comes_after_the_append_that_nobody_waited_for() {
    let server = Server::start(AppendOnly::No).await;
    let (log, id, mut writer) = unanswered(&server).await;
    assert_eq!(insist(async || writer.seal(&finished()).await.ok()).await, Seq::new(2));
    assert_eq!(read(&log, id, Seq::new(1)).await.unwrap().entries[0].event, finished());
    assert_eq!(texts(&log, id).await, ["one"]);
}

#[tokio::test]
async fn readers_have_time_to_come_back_after_an_outage_that_outlasted_their_grace() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let id = GenerationId::fresh();
    log.create(id, &spec(OnDisconnect::CancelAfter(Duration::from_secs(1)))).await.unwrap();
    let mut writer = log.open_writer(id).await.unwrap();
    let family = format!("{}:{{{id}}}", config.prefix);
    // What the server finds when it has been away for ten seconds.
    let away = async |admin: &mut _| {
        let heard: u64 = ask(admin, &format!("HGET {family}:meta heard")).await;
        ask::<u32>(admin, &format!("HSET {family}:meta heard {}", heard - 10_000)).await;
        leave(admin, &config, id).await;
    };
    away(&mut admin).await;
    writer.append(&[]).await.unwrap();
    assert_eq!(writer.cancellation().cause(), None);
    assert!((1..=6_000).contains(&ask::<i64>(&mut admin, &format!("PTTL {family}:audience")).await));
    // Another worker is the first to get through.
    away(&mut admin).await;
    let mut writer = log.open_writer(id).await.unwrap();
    assert_eq!(writer.cancellation().cause(), None);
    assert!((1..=6_000).contains(&ask::<i64>(&mut admin, &format!("PTTL {family}:audience")).await));
    // They did not come.
    leave(&mut admin, &config, id).await;
    writer.append(&[]).await.unwrap();
    assert_eq!(writer.cancellation().cause(), Some(CancelCause::Abandoned));
}

#[tokio::test]
async fn a_replica_is_not_ready_and_says_why() {
    let server = Server::start(AppendOnly::No).await;
    let log = open(&config(server.url()));
    let id = created(&log).await;
    let mut admin = admin(&server.url()).await;
    ask::<()>(&mut admin, "REPLICAOF 127.0.0.1 1").await;
    let reason = unavailable(log.ready().await);
    assert!(reason.contains("read only replica"), "{reason}");
    unavailable(log.cancel(id).await);
    ask::<()>(&mut admin, "REPLICAOF NO ONE").await;
    ready(&log).await;
    log.cancel(id).await.unwrap();
}

#[tokio::test]
async fn a_server_out_of_memory_takes_no_more_text_and_still_lets_streams_end() {
    let server = Server::start(AppendOnly::No).await;
    let log = open(&config(server.url()));
    let id = created(&log).await;
    let mut writer = log.open_writer(id).await.unwrap();
    let mut admin = admin(&server.url()).await;
    ask::<()>(&mut admin, "CONFIG SET maxmemory 1").await;
    let reason = unavailable(writer.append(&[delta("one")]).await);
    assert!(reason.contains("OOM"), "{reason}");
    assert!(unavailable(log.ready().await).contains("OOM"));
    log.cancel(id).await.unwrap();
    assert_eq!(writer.seal(&finished()).await.unwrap(), Seq::new(1));
}

#[tokio::test]
async fn a_wrong_password_is_said_and_never_shown_and_may_be_corrected_later() {
    let server = Server::start(AppendOnly::No).await;
    let mut admin = admin(&server.url()).await;
    ask::<()>(&mut admin, "CONFIG SET requirepass right").await;
    let config = config(format!("redis://:wrong-secret@127.0.0.1:{}", server.port()));
    let log = open(&config);
    let reason = unavailable(log.ready().await);
    assert!(reason.contains("cannot connect") && reason.to_lowercase().contains("password"), "{reason}");
    assert!(!format!("{reason} {config:?} {log:?}").contains("wrong-secret"));
    ask::<()>(&mut admin, "CONFIG SET requirepass wrong-secret").await;
    ready(&log).await;
    assert!(!format!("{log:?}").contains("wrong-secret"));
}

#[tokio::test]
async fn an_url_that_is_none_is_refused_at_once() {
    let config = config("http://localhost".into());
    assert!(Redis::new(&config, std::sync::Arc::new(SystemClock)).is_err());
}
