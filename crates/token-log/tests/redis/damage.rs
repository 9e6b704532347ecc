//! Others have changed what a stream holds.

use std::time::Duration;

use testkit::services::{AppendOnly, Redis as Server};
use token_log::redis::{Config, Redis};
use tokenwire_core::{
    Event, Failure, GenerationId, LogError, Seq, TokenLog,
    token_log::{Phase, WRITER_TIMEOUT},
};
use tokio::time::Instant;

use crate::support::{admin, ask, config, created, delta, explain, finished, open, read, shared, texts};

fn reason<T: std::fmt::Debug>(outcome: Result<T, LogError>) -> String {
    let error = outcome.unwrap_err();
    assert!(matches!(error, LogError::Damaged(_)), "{error:?}");
    explain(&error)
}

/// A sealed stream with one piece of text.
async fn sealed(log: &Redis) -> GenerationId {
    let id = created(log).await;
    let mut writer = log.open_writer(id).await.unwrap();
    writer.append(&[delta("one")]).await.unwrap();
    writer.seal(&finished()).await.unwrap();
    id
}

/// Its worker is gone: nothing brings it back.
async fn forget_owner(config: &Config, id: GenerationId) {
    ask::<u32>(&mut admin(&config.url).await, &format!("HDEL {}:{{{id}}}:meta heard", config.prefix)).await;
}

#[tokio::test]
async fn what_was_evicted_trimmed_or_replaced_is_told_at_once() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    for (damage, named) in [
        ("DEL {}:entries", "entry 1 is missing"),
        ("XTRIM {}:entries MAXLEN 1", "entry 1 is missing"),
        ("SET {}:entries x", "WRONGTYPE"),
        ("SET {}:meta x", "WRONGTYPE"),
        ("HDEL {}:meta end_by", "missing or invalid"),
        ("HSET {}:meta end_by soon", "returned an error"),
    ] {
        let id = sealed(&log).await;
        let command = damage.replace("{}", &format!("{}:{{{id}}}", config.prefix));
        ask::<redis::Value>(&mut admin, &command).await;
        let began = Instant::now();
        let told = reason(read(&log, id, Seq::START).await);
        assert!(told.contains(named), "{damage}: {told}");
        // Only where nothing says that it has no writer, one is waited for.
        assert!(began.elapsed() < WRITER_TIMEOUT + Duration::from_secs(2), "{damage}");
        let told = log.spec(id).await;
        if damage.contains("meta") {
            reason(told);
        } else {
            told.unwrap();
        }
    }
}

#[tokio::test]
async fn a_record_that_is_none_is_damage_and_one_of_a_newer_version_is_not() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    for (record, damaged) in [("\u{1}{}", true), ("", true), ("\u{9}{}", false)] {
        let id = created(&log).await;
        let mut writer = log.open_writer(id).await.unwrap();
        writer.append(&[delta("one")]).await.unwrap();
        forget_owner(&config, id).await;
        let entries = format!("{}:{{{id}}}:entries", config.prefix);
        ask::<u32>(&mut admin, &format!("DEL {entries}")).await;
        redis::cmd("XADD")
            .arg(&entries)
            .arg("1-0")
            .arg("b")
            .arg(record)
            .exec_async(&mut admin)
            .await
            .unwrap();
        for error in [read(&log, id, Seq::START).await.unwrap_err(), log.open_writer(id).await.unwrap_err()] {
            assert_eq!(matches!(error, LogError::Damaged(_)), damaged, "{record:?} {error:?}");
            assert_eq!(matches!(error, LogError::Unavailable(_)), !damaged, "{record:?} {error:?}");
        }
    }
}

#[tokio::test]
async fn who_takes_over_a_damaged_stream_is_told() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    for damage in ["DEL {}:entries", "SET {}:entries x", "SET {}:meta x", "HDEL {}:meta fingerprint"] {
        let id = created(&log).await;
        let mut writer = log.open_writer(id).await.unwrap();
        writer.append(&[delta("one")]).await.unwrap();
        drop(writer);
        let command = damage.replace("{}", &format!("{}:{{{id}}}", config.prefix));
        ask::<redis::Value>(&mut admin, &command).await;
        reason(log.open_writer(id).await);
    }
}

/// It looks after its stream: a reader waits for it, and is not told that all is lost.
#[tokio::test]
async fn a_reader_waits_for_a_writer_that_mends_the_damage() {
    let server = Server::start(AppendOnly::No).await;
    let config = config(server.url());
    let log = open(&config);
    let mut admin = admin(&server.url()).await;
    for damage in ["DEL {}:entries", "XTRIM {}:entries MAXLEN 0", "SET {}:entries x", "SET {}:meta x"] {
        let id = created(&log).await;
        let mut writer = log.open_writer(id).await.unwrap();
        writer.append(&[delta("one")]).await.unwrap();
        let command = damage.replace("{}", &format!("{}:{{{id}}}", config.prefix));
        ask::<redis::Value>(&mut admin, &command).await;
        let mend = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            writer.append(&[]).await.unwrap();
        };
        let (page, ()) = futures::join!(read(&log, id, Seq::START), mend);
        assert_eq!(page.unwrap().entries.len(), 1, "{damage}");
        assert_eq!(texts(&log, id).await, ["one"]);
    }
}

/// A reader that has seen all that is left, and one that comes later: both learn that there will be no more.
#[tokio::test]
async fn a_damaged_stream_of_a_dead_worker_gets_an_end() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    for damage in ["XTRIM {}:entries MAXLEN 1", "DEL {}:entries", "SET {}:entries x"] {
        let id = created(&log).await;
        let mut writer = log.open_writer(id).await.unwrap();
        writer.append(&[delta("one")]).await.unwrap();
        writer.append(&[delta("two")]).await.unwrap();
        drop(writer);
        forget_owner(&config, id).await;
        let command = damage.replace("{}", &format!("{}:{{{id}}}", config.prefix));
        ask::<redis::Value>(&mut admin, &command).await;
        reason(log.open_writer(id).await);
        let lost = Event::Failed { failure: Failure::Lost };
        log.seal_damaged(id, &lost).await.unwrap();
        let rest = read(&log, id, Seq::new(2)).await.unwrap();
        assert_eq!(rest.phase, Phase::Sealed, "{damage}");
        assert_eq!(rest.entries.last().map(|entry| (entry.seq, &entry.event)), Some((Seq::new(3), &lost)));
        reason(read(&log, id, Seq::START).await);
        assert!(matches!(log.seal_damaged(id, &lost).await, Err(LogError::Sealed)), "{damage}");
    }
}
