//! Who listens hears everything, and nobody listens longer than they want to.

use std::num::NonZeroUsize;

use futures::future::join_all;
use tokenwire_core::{CancelCause, Event, GenerationId, Seq, TokenLog, token_log::Hint};

use crate::support::{
    TEST_TIMEOUT, admin, ask, created, delta, finished, follow_by_hints, insist, next, open, shared,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_join_under_load_miss_nothing() {
    const STREAMS: usize = 10;
    const BATCHES: usize = 150;
    const JOINS: usize = 20;
    let (config, writers) = shared().await;
    // Readers of another process: what they hear comes over the wire.
    let readers = open(&config);
    let one_stream = async || {
        let id = created(&writers).await;
        let write = async {
            let mut writer = writers.open_writer(id).await.unwrap();
            for number in 0..BATCHES {
                let batch: Vec<Event> = (0..=number % 3).map(|part| delta(&part)).collect();
                writer.append(&batch).await.unwrap();
            }
            writer.seal(&finished()).await.unwrap()
        };
        let joins = join_all((0..JOINS).map(async |join| {
            // Spread over the whole life of the stream.
            let after = Seq::new((join * BATCHES / JOINS) as u64);
            insist(async || {
                let page = readers.read(id, Seq::START, NonZeroUsize::MIN).await.unwrap();
                (page.last_seq >= after).then_some(())
            })
            .await;
            follow_by_hints(&readers, id).await
        }));
        let (sealed, seen) = futures::join!(write, joins);
        let whole: Vec<_> = (1..=sealed.get()).map(Seq::new).collect();
        for entries in seen {
            assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), whole);
        }
    };
    join_all((0..STREAMS).map(|_| one_stream())).await;
}

#[tokio::test]
async fn a_stop_reaches_a_writer_that_is_silent() {
    let (config, worker) = shared().await;
    let front_end = open(&config);
    let id = created(&front_end).await;
    let writer = worker.open_writer(id).await.unwrap();
    front_end.cancel(id).await.unwrap();
    let cause = tokio::time::timeout(TEST_TIMEOUT, writer.cancellation().cancelled()).await.unwrap();
    assert_eq!(cause, CancelCause::Requested);
}

#[tokio::test]
async fn a_process_subscribes_once_and_leaves_with_its_last_listener() {
    let (config, log) = shared().await;
    let id = created(&log).await;
    let mut admin = admin(&config.url).await;
    let numsub = format!("PUBSUB NUMSUB {}:{{{id}}}", config.prefix);
    let mut subscribers = async || ask::<(String, usize)>(&mut admin, &numsub).await.1;

    let first = log.wakeups(id).await.unwrap();
    let second = log.wakeups(id).await.unwrap();
    assert_eq!(subscribers().await, 1);
    drop(first);
    let mut third = log.wakeups(id).await.unwrap();
    drop(second);
    let mut writer = log.open_writer(id).await.unwrap();
    writer.append(&[delta("one")]).await.unwrap();
    assert!(matches!(next(&mut third).await, Hint::Appended { .. }));
    assert_eq!(subscribers().await, 1);

    drop(third);
    insist(async || (subscribers().await == 0).then_some(())).await;
    let mut again = log.wakeups(id).await.unwrap();
    writer.append(&[delta("two")]).await.unwrap();
    assert!(matches!(next(&mut again).await, Hint::Appended { .. }));
}

#[tokio::test]
async fn a_crowd_comes_and_goes() {
    let (config, log) = shared().await;
    let mut admin = admin(&config.url).await;
    let pattern = format!("PUBSUB CHANNELS {}:*", config.prefix);
    let mut channels = async || ask::<Vec<String>>(&mut admin, &pattern).await.len();
    let crowd = join_all((0..600).map(async |_| log.wakeups(GenerationId::fresh()).await.unwrap())).await;
    assert_eq!(channels().await, 600);
    drop(crowd);
    insist(async || (channels().await == 0).then_some(())).await;
}

#[tokio::test]
async fn dropping_the_log_ends_its_connections() {
    let server = testkit::services::Redis::start(testkit::services::AppendOnly::No).await;
    let mut admin = admin(&server.url()).await;
    let log = open(&crate::support::config(server.url()));
    let id = created(&log).await;
    let wakeups = log.wakeups(id).await.unwrap();
    let writer = log.open_writer(id).await.unwrap();
    drop((wakeups, writer, log));
    insist(async || {
        let clients: String = ask(&mut admin, "CLIENT LIST").await;
        (clients.lines().count() == 1).then_some(())
    })
    .await;
}
