//! Whether a stream has readers, when the server has lost the key that says so.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use testkit::services::{AppendOnly, Redis as Server};
use token_log::redis::{Config, Redis};
use tokenwire_core::{
    CancelCause, GenerationId, TokenLog,
    token_log::{OnDisconnect, PRESENCE_TTL},
};
use tokio::time::{Instant, sleep};

use crate::support::{admin, append, ask, config, delta, insist, leave, open, shared, spec};

/// A stream with this grace, and the start of its keys.
async fn stream(config: &Config, log: &Redis, grace: Duration) -> (GenerationId, String) {
    let id = GenerationId::fresh();
    log.create(id, &spec(OnDisconnect::CancelAfter(grace))).await.unwrap();
    (id, format!("{}:{{{id}}}", config.prefix))
}

/// What an eviction does.
async fn lose_key(admin: &mut MultiplexedConnection, family: &str) {
    ask::<u32>(admin, &format!("DEL {family}:audience")).await;
}

async fn expires(admin: &mut MultiplexedConnection, family: &str) -> i64 {
    ask(admin, &format!("PTTL {family}:audience")).await
}

/// Under `allkeys-lru`, 30 of 60 answers that were read were cancelled.
#[tokio::test]
async fn an_answer_that_is_read_is_not_cancelled_however_often_the_key_is_lost() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let grace = Duration::from_millis(500);
    let (id, family) = stream(&config, &log, grace).await;
    let mut writer = log.open_writer(id).await.unwrap();
    let began = Instant::now();
    let mut attended = began;
    while began.elapsed() < PRESENCE_TTL + 2 * grace {
        if attended.elapsed() > PRESENCE_TTL / 2 {
            log.touch_presence(id).await.unwrap();
            attended = Instant::now();
        }
        lose_key(&mut admin, &family).await;
        writer.append(&[]).await.unwrap();
        assert_eq!(writer.cancellation().cause(), None, "{:?}", began.elapsed());
        sleep(Duration::from_millis(100)).await;
    }
    // Its readers go. The key is lost again and again, and yet they have the time that they had, and no more.
    let left = Instant::now();
    log.touch_presence(id).await.unwrap();
    while writer.cancellation().cause().is_none() {
        lose_key(&mut admin, &family).await;
        sleep(Duration::from_millis(100)).await;
        writer.append(&[]).await.unwrap();
    }
    assert_eq!(writer.cancellation().cause(), Some(CancelCause::Abandoned));
    let gone = left.elapsed();
    assert!(gone >= PRESENCE_TTL + grace, "{gone:?}");
    assert!(gone < PRESENCE_TTL + grace + Duration::from_secs(3), "{gone:?}");
}

#[tokio::test]
async fn a_queued_stream_whose_key_is_lost_is_opened_and_one_that_was_left_is_not() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let (id, family) = stream(&config, &log, Duration::from_secs(1)).await;
    lose_key(&mut admin, &family).await;
    let writer = log.open_writer(id).await.unwrap();
    assert_eq!(writer.cancellation().cause(), None);
    assert!((1..=6_000).contains(&expires(&mut admin, &family).await), "as long as it had");

    let (id, _) = stream(&config, &log, Duration::from_secs(1)).await;
    leave(&mut admin, &config, id).await;
    let writer = log.open_writer(id).await.unwrap();
    assert_eq!(writer.cancellation().cause(), Some(CancelCause::Abandoned));
}

/// Streams of older versions have the key alone, and their readers may be attended for by older processes.
#[tokio::test]
async fn where_nothing_is_known_of_the_audience_its_grace_begins_anew() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let (id, family) = stream(&config, &log, Duration::from_secs(1)).await;
    let mut writer = log.open_writer(id).await.unwrap();
    for reopened in [false, true] {
        ask::<u32>(&mut admin, &format!("HDEL {family}:meta attended_until")).await;
        lose_key(&mut admin, &family).await;
        if reopened {
            writer = log.open_writer(id).await.unwrap();
        }
        writer.append(&[]).await.unwrap();
        assert_eq!(writer.cancellation().cause(), None);
        assert!((5_000..=6_000).contains(&expires(&mut admin, &family).await));
    }
    // A clock that was put back does not keep an audience for hours.
    lose_key(&mut admin, &family).await;
    ask::<u32>(&mut admin, &format!("HSET {family}:meta attended_until 9763800000000")).await;
    writer.append(&[]).await.unwrap();
    assert!((5_000..=6_000).contains(&expires(&mut admin, &family).await));
    leave(&mut admin, &config, id).await;
    writer.append(&[]).await.unwrap();
    assert_eq!(writer.cancellation().cause(), Some(CancelCause::Abandoned));
}

/// No reader can say that it is there while the server is away, and a worker may be back before them.
#[tokio::test]
async fn a_queued_stream_is_not_abandoned_by_an_outage() {
    let server = Server::start(AppendOnly::Yes).await;
    let config = config(server.url());
    let log = open(&config);
    let (id, _) = stream(&config, &log, Duration::from_secs(1)).await;
    leave(&mut admin(&server.url()).await, &config, id).await;
    server.kill().await;
    server.restart().await;
    let mut writer = insist(async || log.open_writer(id).await.ok()).await;
    append(&mut *writer, &[delta("one")]).await;
    assert_eq!(writer.cancellation().cause(), None);
}
