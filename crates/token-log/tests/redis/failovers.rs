//! Another server takes over behind the same address.

use std::time::Duration;

use testkit::{
    proxy::Proxy,
    services::{AppendOnly, Redis as Server},
};
use token_log::redis::Config;
use tokenwire_core::{LogError, Seq, TokenLog, token_log::Hint};
use tokio::time::Instant;

use crate::support::{
    TEST_TIMEOUT, admin, append, ask, config, created, delta, explain, finished, follow_by_hints, insist,
    open, read, texts,
};

/// A primary, its replica, and the address that leads to the primary.
async fn pair() -> (Server, Server, Proxy) {
    let (one, two) = futures::join!(Server::start(AppendOnly::No), Server::start(AppendOnly::No));
    two.replicate(&one).await;
    let address = Proxy::start(one.port()).await;
    (one, two, address)
}

/// What a failover does: nothing is cut, and from now on the address leads to the other one.
async fn switch(from: &Server, to: &Server, address: &Proxy) {
    to.promote().await;
    address.retarget(to.port());
    from.replicate(to).await;
}

fn behind(address: &Proxy) -> Config {
    config(format!("redis://127.0.0.1:{}", address.port()))
}

#[tokio::test]
async fn an_answer_goes_on_where_its_server_has_become_a_replica() {
    let (one, two, address) = pair().await;
    let config = behind(&address);
    // The reader writes nothing: its process has to find out by itself.
    let (readers, writers) = (open(&config), open(&config));
    let id = created(&writers).await;
    let write = async {
        let mut writer = insist(async || writers.open_writer(id).await.ok()).await;
        for number in 0..60 {
            assert_eq!(append(&mut *writer, &[delta(&number)]).await, Seq::new(number + 1));
            match number {
                20 => switch(&one, &two, &address).await,
                40 => switch(&two, &one, &address).await,
                _ => {}
            }
        }
        insist(async || writer.seal(&finished()).await.ok()).await
    };
    let (sealed, seen) = futures::join!(write, follow_by_hints(&readers, id));
    let whole: Vec<_> = (1..=sealed.get()).map(Seq::new).collect();
    assert_eq!(seen.iter().map(|entry| entry.seq).collect::<Vec<_>>(), whole);
    let expected: Vec<_> = (0..60).map(|number| number.to_string()).collect();
    assert_eq!(texts(&readers, id).await, expected);
}

#[tokio::test]
async fn a_process_that_only_listens_hears_again_within_seconds() {
    let (one, two, address) = pair().await;
    let config = behind(&address);
    let (readers, writers) = (open(&config), open(&config));
    let id = created(&writers).await;
    let mut writer = writers.open_writer(id).await.unwrap();
    let mut wakeups = readers.wakeups(id).await.unwrap();
    append(&mut *writer, &[delta("one")]).await;
    assert!(matches!(crate::support::next(&mut wakeups).await, Hint::Appended { .. }));
    // The old primary is no replica of the new one: what is published at the new one does not reach it.
    two.promote().await;
    address.retarget(two.port());
    ask::<()>(&mut admin(&one.url()).await, "REPLICAOF 127.0.0.1 1").await;
    let began = Instant::now();
    // The piece that is appended before it listens again arrives as a call to look.
    append(&mut *writer, &[delta("two")]).await;
    crate::support::next(&mut wakeups).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(read(&readers, id, Seq::START).await.unwrap().last_seq, Seq::new(2));
    append(&mut *writer, &[delta("three")]).await;
    crate::support::next(&mut wakeups).await;
}

/// One that writes is refused, and both of its connections move: it need not wait for the next sign of life.
#[tokio::test]
async fn who_is_refused_listens_elsewhere_at_once() {
    let (one, two, address) = pair().await;
    let config = behind(&address);
    let log = open(&config);
    let id = created(&log).await;
    let mut writer = log.open_writer(id).await.unwrap();
    let mut wakeups = log.wakeups(id).await.unwrap();
    switch(&one, &two, &address).await;
    append(&mut *writer, &[delta("one")]).await;
    crate::support::next(&mut wakeups).await;
    let channel = format!("PUBSUB NUMSUB {}:{{{id}}}", config.prefix);
    let mut admin = admin(&two.url()).await;
    let subscribed = async {
        insist(async || (ask::<(String, usize)>(&mut admin, &channel).await.1 == 1).then_some(())).await;
    };
    tokio::time::timeout(TEST_TIMEOUT, subscribed).await.unwrap();
}

/// Replication tells the client that something is stored before the replica has it.
#[tokio::test]
async fn what_the_replica_had_not_got_is_written_again() {
    let (one, two, address) = pair().await;
    let config = behind(&address);
    let log = open(&config);
    let id = created(&log).await;
    let mut writer = log.open_writer(id).await.unwrap();
    append(&mut *writer, &[delta("one")]).await;
    insist(async || {
        let wakeups = format!("HGET {}:{{{id}}}:meta tail", config.prefix);
        (ask::<Option<u64>>(&mut admin(&two.url()).await, &wakeups).await == Some(1)).then_some(())
    })
    .await;
    // From here on nothing arrives there, as when the network between the two is slow.
    two.promote().await;
    append(&mut *writer, &[delta("two"), delta("three")]).await;
    one.kill().await;
    address.retarget(two.port());
    assert_eq!(append(&mut *writer, &[delta("four")]).await, Seq::new(4));
    assert_eq!(texts(&log, id).await, ["one", "two", "three", "four"]);
}

/// It was set up to refuse writes while no replica has them.
#[tokio::test]
async fn a_primary_that_was_cut_off_from_its_replicas_is_left() {
    let (one, two, address) = pair().await;
    let config = behind(&address);
    let log = open(&config);
    let id = created(&log).await;
    let mut writer = log.open_writer(id).await.unwrap();
    append(&mut *writer, &[delta("one")]).await;
    two.promote().await;
    ask::<()>(&mut admin(&one.url()).await, "CONFIG SET min-replicas-to-write 1").await;
    // Until another one has the address there is something to read.
    assert!(matches!(writer.append(&[delta("two")]).await, Err(LogError::Unavailable(_))));
    assert_eq!(read(&log, id, Seq::START).await.unwrap().last_seq, Seq::new(1));
    address.retarget(two.port());
    append(&mut *writer, &[delta("two")]).await;
    assert_eq!(texts(&log, id).await, ["one", "two"]);
    assert_eq!(
        ask::<u32>(&mut admin(&two.url()).await, &format!("EXISTS {}:{{{id}}}:meta", config.prefix)).await,
        1
    );
}

/// Its refusal comes within a transaction, and under another code.
#[tokio::test]
async fn a_replica_that_has_lost_its_primary_and_gives_nothing_is_left() {
    let server = Server::start(AppendOnly::No).await;
    let log = open(&config(server.url()));
    let id = created(&log).await;
    let mut admin = admin(&server.url()).await;
    ask::<()>(&mut admin, "CONFIG SET replica-serve-stale-data no").await;
    ask::<()>(&mut admin, "REPLICAOF 127.0.0.1 1").await;
    let reason = async || explain(&read(&log, id, Seq::START).await.unwrap_err());
    let first = reason().await;
    assert!(!first.contains("takes no writes"), "{first}");
    let second = reason().await;
    assert!(second.contains("takes no writes"), "{second}");
    ask::<()>(&mut admin, "REPLICAOF NO ONE").await;
    insist(async || read(&log, id, Seq::START).await.ok()).await;
}

#[tokio::test]
async fn a_replica_at_the_start_is_waited_for_until_it_takes_writes() {
    let (one, two, _address) = pair().await;
    let log = open(&config(two.url()));
    let LogError::Unavailable(reason) = log.ready().await.unwrap_err() else { panic!("unavailable") };
    let reason = explain(&*reason);
    assert!(reason.contains("takes no writes") && reason.contains("read only replica"), "{reason}");
    one.kill().await;
    two.promote().await;
    insist(async || log.ready().await.ok()).await;
}

#[tokio::test]
async fn a_cluster_and_a_sentinel_are_refused_in_one_sentence() {
    let (cluster, sentinel, fine) =
        futures::join!(Server::start_cluster_node(), Server::start_sentinel(), Server::start(AppendOnly::No));
    for (server, name) in [(&cluster, "Redis Cluster"), (&sentinel, "Redis Sentinel")] {
        // With a database too, which neither lets anyone choose.
        for url in [server.url(), format!("{}/3", server.url())] {
            let log = open(&config(url));
            let reason = log.check_mode().await.unwrap_err().to_string();
            assert!(reason.contains(name) && reason.contains("does not support"), "{reason}");
            let LogError::Unavailable(reason) = log.ready().await.unwrap_err() else { panic!("unavailable") };
            assert!(explain(&*reason).contains(name));
        }
    }
    open(&config(fine.url())).check_mode().await.unwrap();
    // One that is away may be anything.
    fine.kill().await;
    open(&config(fine.url())).check_mode().await.unwrap();
}

/// The recommended rules do not allow to ask for `INFO`.
#[tokio::test]
async fn a_cluster_is_recognised_by_a_user_with_few_rights() {
    let cluster = Server::start_cluster_node().await;
    let url = cluster.url_of_user("tokenwire", "~tokenwire:* &tokenwire:* +@all -@admin -@dangerous").await;
    let reason = open(&config(url)).check_mode().await.unwrap_err().to_string();
    assert!(reason.contains("Redis Cluster"), "{reason}");
}
