//! What a stream leaves in the server.

use std::{collections::BTreeMap, time::Duration};

use redis::aio::MultiplexedConnection;
use token_log::redis::Config;
use tokenwire_core::{GenerationId, TokenLog, token_log::OnDisconnect};

use crate::support::{admin, ask, delta, finished, shared, spec};

/// The time to live of each of the log's keys by the last part of its name, in milliseconds.
async fn keys(admin: &mut MultiplexedConnection, config: &Config) -> BTreeMap<String, i64> {
    let mut keys = BTreeMap::new();
    for key in ask::<Vec<String>>(admin, &format!("KEYS {}:*", config.prefix)).await {
        let expires = ask(admin, &format!("PTTL {key}")).await;
        keys.insert(key.rsplit(':').next().unwrap().to_owned(), expires);
    }
    keys
}

#[tokio::test]
async fn every_key_expires_in_every_state() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let id = GenerationId::fresh();
    let day = 24 * 60 * 60 * 1000;

    log.create(id, &spec(OnDisconnect::CancelAfter(Duration::from_secs(30)))).await.unwrap();
    let queued = keys(&mut admin, &config).await;
    assert_eq!(queued.keys().collect::<Vec<_>>(), ["audience", "meta"]);
    assert!((1..=35_000).contains(&queued["audience"]));
    assert!((day..=day + 600_000).contains(&queued["meta"]), "its end_by, and the retention");

    log.attend(id).await.unwrap();
    let mut writer = log.open_writer(id).await.unwrap();
    assert!(keys(&mut admin, &config).await.values().all(|&expires| expires > 0));

    writer.append(&[delta("one")]).await.unwrap();
    writer.append(&[delta("two")]).await.unwrap();
    log.cancel(id).await.unwrap();
    let running = keys(&mut admin, &config).await;
    assert_eq!(running.keys().collect::<Vec<_>>(), ["audience", "entries", "meta"]);
    assert!(running["entries"] > day && running["meta"] > day && running["audience"] > 0);

    writer.seal(&finished()).await.unwrap();
    log.attend(id).await.unwrap();
    let sealed = keys(&mut admin, &config).await;
    assert_eq!(sealed.keys().collect::<Vec<_>>(), ["entries", "meta"]);
    assert!(sealed.values().all(|expires| (1..=day).contains(expires)), "{sealed:?}");

    log.ready().await.unwrap();
    log.remove(id).await.unwrap();
    let removed = keys(&mut admin, &config).await;
    assert_eq!(removed.keys().collect::<Vec<_>>(), ["ready"]);
    assert!(removed["ready"] > 0);
}

#[tokio::test]
async fn a_stream_without_a_grace_has_no_audience() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let id = GenerationId::fresh();
    log.create(id, &spec(OnDisconnect::Detached)).await.unwrap();
    log.attend(id).await.unwrap();
    assert_eq!(keys(&mut admin, &config).await.keys().collect::<Vec<_>>(), ["meta"]);
    let writer = log.open_writer(id).await.unwrap();
    assert_eq!(writer.cancellation().cause(), None);
}
