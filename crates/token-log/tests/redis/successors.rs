//! An id that stands for another stream while somebody reads the one that had it.

use std::sync::Arc;

use testkit::services::{AppendOnly, Redis as Server};
use tokenwire_core::{
    Follower, Seq, SystemClock, TokenLog,
    follow::FollowError,
    token_log::{OnDisconnect, StreamSpec},
};

use crate::support::{
    TEST_TIMEOUT, admin, append, ask, config, created, delta, finished, insist, open, shared, spec,
};

/// Nobody says a word to its readers, and its entries arrive as those of the old stream did.
#[tokio::test]
async fn a_reader_of_a_lost_stream_is_not_given_the_next_one() {
    let (config, log) = shared().await;
    let log = Arc::new(log);
    let mut admin = admin(&config.url).await;
    for waits in [true, false] {
        let id = created(&log).await;
        let mut old = log.open_writer(id).await.unwrap();
        old.append(&[delta("one"), delta("two")]).await.unwrap();
        let mut reader = Follower::open(log.clone(), Arc::new(SystemClock), id, Seq::START).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().len(), 2);
        drop(old);
        let replace = async {
            let family = format!("{}:{{{id}}}", config.prefix);
            ask::<u32>(&mut admin, &format!("DEL {family}:meta {family}:entries")).await;
            let spec = spec(OnDisconnect::Detached);
            let start_by = spec.start_by.after(TEST_TIMEOUT);
            log.create(id, &StreamSpec { start_by, ..spec }).await.unwrap();
            let mut new = log.open_writer(id).await.unwrap();
            for text in ["1", "2", "3", "4"] {
                new.append(&[delta(text)]).await.unwrap();
            }
        };
        let end = if waits {
            futures::join!(reader.next(), replace).0
        } else {
            replace.await;
            reader.next().await
        };
        assert!(matches!(end, Err(FollowError::Lost(lost)) if lost == id), "{end:?}");
    }
}

#[tokio::test]
async fn a_reader_goes_on_with_a_stream_that_its_worker_writes_again() {
    let server = Server::start(AppendOnly::No).await;
    let config = config(server.url());
    let (readers, writers) = (Arc::new(open(&config)), open(&config));
    let id = created(&writers).await;
    let mut writer = writers.open_writer(id).await.unwrap();
    append(&mut *writer, &[delta("one")]).await;
    let mut reader = Follower::open(readers, Arc::new(SystemClock), id, Seq::START).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap()[0].event, delta("one"));
    let lose = async {
        server.kill().await;
        server.restart().await;
        append(&mut *writer, &[delta("two")]).await;
        insist(async || writer.seal(&finished()).await.ok()).await;
    };
    let read = async {
        let mut rest = Vec::new();
        while let Some(entries) = reader.next().await.unwrap() {
            rest.extend(entries.iter().map(|entry| entry.event.clone()));
        }
        rest
    };
    let (rest, ()) = futures::join!(read, lose);
    assert_eq!(rest, [delta("two"), finished()]);
}
