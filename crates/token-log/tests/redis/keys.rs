//! What a stream leaves in the server, and what it needs there.

use std::{collections::BTreeMap, time::Duration};

use redis::aio::MultiplexedConnection;
use testkit::services::{AppendOnly, Redis as Server};
use token_log::redis::Config;
use tokenwire_core::{
    Caller, CallerName, Fingerprint, GenerationId, LogError, Seq, Timestamp, TokenLog,
    token_log::{Created, Hint, OnDisconnect, Phase, StreamSpec},
};

use crate::support::{admin, ask, created, delta, explain, finished, insist, next, open, read, shared, spec};

/// The time to live of each of the streams' keys by the last part of its name, in milliseconds.
async fn keys(admin: &mut MultiplexedConnection, config: &Config) -> BTreeMap<String, i64> {
    let mut keys = BTreeMap::new();
    for key in ask::<Vec<String>>(admin, &format!("KEYS {}:*", config.prefix)).await {
        let expires = ask(admin, &format!("PTTL {key}")).await;
        keys.insert(key.rsplit(':').next().unwrap().to_owned(), expires);
    }
    // What every connection writes to see that the server takes writes.
    let probe = keys.remove("ready");
    assert!(probe.is_some_and(|expires| expires > 0));
    keys
}

#[tokio::test]
async fn every_key_expires_in_every_state() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let id = GenerationId::fresh();
    let day = 24 * 60 * 60 * 1000;

    let grace = OnDisconnect::CancelAfter(Duration::from_secs(30));
    log.create(id, &StreamSpec { metadata: "a memo".into(), ..spec(grace) }).await.unwrap();
    let queued = keys(&mut admin, &config).await;
    assert_eq!(queued.keys().collect::<Vec<_>>(), ["audience", "meta"]);
    assert!((1..=35_000).contains(&queued["audience"]));
    assert!((day..=day + 600_000).contains(&queued["meta"]), "its end_by, and the retention");

    log.touch_presence(id).await.unwrap();
    let mut writer = log.open_writer(id).await.unwrap();
    assert!(keys(&mut admin, &config).await.values().all(|&expires| expires > 0));

    writer.append(&[delta("one")]).await.unwrap();
    writer.append(&[delta("two")]).await.unwrap();
    log.cancel(id).await.unwrap();
    let running = keys(&mut admin, &config).await;
    assert_eq!(running.keys().collect::<Vec<_>>(), ["audience", "entries", "meta"]);
    assert!(running["entries"] > day && running["meta"] > day && running["audience"] > 0);

    writer.seal(&finished()).await.unwrap();
    log.touch_presence(id).await.unwrap();
    let sealed = keys(&mut admin, &config).await;
    assert_eq!(sealed.keys().collect::<Vec<_>>(), ["entries", "meta"]);
    assert!(sealed.values().all(|expires| (1..=day).contains(expires)), "{sealed:?}");

    log.ready().await.unwrap();
    log.remove(id).await.unwrap();
    let removed = keys(&mut admin, &config).await;
    assert_eq!(removed.keys().collect::<Vec<_>>(), ["removed"], "word for a writer that lives");
    assert!(removed.values().all(|&expires| expires > 0));
}

#[tokio::test]
async fn metadata_expires_with_its_stream() {
    let (config, _) = shared().await;
    let log = open(&Config { retention: Duration::from_millis(1), ..config.clone() });
    let id = GenerationId::fresh();
    log.create(id, &StreamSpec { metadata: "a memo".into(), ..spec(OnDisconnect::Detached) }).await.unwrap();
    log.open_writer(id).await.unwrap().seal(&finished()).await.unwrap();
    let gone = insist(async || log.spec(id).await.err()).await;
    assert!(matches!(gone, LogError::NotFound(_)), "{gone}");
    assert_eq!(keys(&mut admin(&config.url).await, &config).await.len(), 0);
}

#[tokio::test]
async fn a_stream_without_a_grace_has_no_audience() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let id = GenerationId::fresh();
    log.create(id, &spec(OnDisconnect::Detached)).await.unwrap();
    log.touch_presence(id).await.unwrap();
    assert_eq!(keys(&mut admin, &config).await.keys().collect::<Vec<_>>(), ["meta"]);
    let writer = log.open_writer(id).await.unwrap();
    assert_eq!(writer.cancellation().cause(), None);
}

/// What an older version wrote reads as anonymous, and an anonymous stream is written as it wrote it.
#[tokio::test]
async fn only_the_stream_of_a_named_caller_has_a_field_for_it() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let named = Caller::Named(CallerName::new("team/blue").unwrap());
    for caller in [Caller::Anonymous, named] {
        let id = GenerationId::fresh();
        let field = caller.name().map(ToString::to_string);
        let created = StreamSpec { caller, ..spec(OnDisconnect::Detached) };
        log.create(id, &created).await.unwrap();
        let get = format!("HGET {}:{{{id}}}:meta caller", config.prefix);
        assert_eq!(ask::<Option<String>>(&mut admin, &get).await, field);
        // A name that cannot be read is not taken for an anonymous caller.
        ask::<u32>(&mut admin, &format!("HSET {}:{{{id}}}:meta caller é", config.prefix)).await;
        assert!(matches!(log.spec(id).await, Err(LogError::Damaged(_))));
    }
}

/// Streams live for a day or more: what version 1 stored is read by whatever comes later.
#[tokio::test]
async fn a_stream_that_version_1_stored_goes_on() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let id = GenerationId::fresh();
    let family = format!("{}:{{{id}}}", config.prefix);
    let fingerprint = "f".repeat(32);
    let meta = format!(
        "HSET {family}:meta v 1 fingerprint {fingerprint} created_at 1763800000000 start_by 1763800060000 \
         end_by 1763800600000 attempt 1 tail 2 writer 1@1763800000.000001"
    );
    ask::<u32>(&mut admin, &meta).await;
    let batch = "\u{1}{\"first\":1,\"at\":1763800000000,\"events\":[\
                 {\"started\":{\"attempt\":1,\"text\":\"superseded\"}},{\"delta\":{\"text\":\"one\"}}]}";
    ask::<String>(&mut admin, &format!("XADD {family}:entries 2-0 b {batch}")).await;

    let page = read(&log, id, Seq::START).await.unwrap();
    let end_by = Timestamp::from_millis(1_763_800_600_000);
    assert_eq!(page.phase, Phase::Running { end_by, silent_for: Duration::MAX, waiting_until: None });
    assert_eq!((page.last_seq, page.entries.len()), (Seq::new(2), 2));
    let spec_of_old = log.spec(id).await.unwrap();
    assert_eq!((spec_of_old.end_by, spec_of_old.metadata.len()), (end_by, 0), "it knew no metadata");
    assert_eq!(
        log.create(id, &spec(OnDisconnect::Detached)).await.unwrap(),
        Created::Existing(Fingerprint::from_bytes([b'f'; 32]))
    );
    let mut writer = log.open_writer(id).await.unwrap();
    assert_eq!((writer.attempt().get(), writer.so_far().text.as_str()), (2, "one"));
    assert_eq!(writer.append(&[delta("two")]).await.unwrap(), Seq::new(3));

    // And what a later version stored is not guessed at.
    ask::<u32>(&mut admin, &format!("HSET {family}:meta v 2")).await;
    for refused in
        [read(&log, id, Seq::START).await.err(), log.spec(id).await.err(), log.open_writer(id).await.err()]
    {
        let reason = explain(&refused.unwrap());
        assert!(reason.contains("format 2") && reason.contains("upgrade"), "{reason}");
    }
}

#[tokio::test]
async fn a_user_that_may_touch_nothing_else_is_enough() {
    let server = Server::start(AppendOnly::No).await;
    let mut admin = admin(&server.url()).await;
    let config =
        Config { url: format!("redis://tokenwire:secret@127.0.0.1:{}", server.port()), ..Config::default() };
    let rules = "on >secret ~tokenwire:* &tokenwire:* +@all -@admin -@dangerous";
    ask::<()>(&mut admin, &format!("ACL SETUSER tokenwire {rules}")).await;
    let log = open(&config);
    let id = created(&log).await;
    let mut wakeups = log.wakeups(id).await.unwrap();
    let mut writer = log.open_writer(id).await.unwrap();
    writer.append(&[delta("one")]).await.unwrap();
    assert!(matches!(next(&mut wakeups).await, Hint::Appended { .. }));
    ask::<u32>(&mut admin, &format!("DEL tokenwire:{{{id}}}:meta tokenwire:{{{id}}}:entries")).await;
    writer.append(&[delta("two")]).await.unwrap();
    log.touch_presence(id).await.unwrap();
    log.cancel(id).await.unwrap();
    writer.seal(&finished()).await.unwrap();
    log.remove(id).await.unwrap();
    log.ready().await.unwrap();
}
