//! Whoever drops an answer stops the upstream: its connection is closed, whatever it was doing.

use futures::StreamExt;
use model::upstream::Config;

use super::fake::*;

#[tokio::test]
async fn dropping_an_answer_closes_its_connection() {
    for (when, pieces, reply) in [
        ("before its head", 0, Reply::silence().stall()),
        ("before its first byte", 0, Reply::stream().stall()),
        ("in its middle", 2, Reply::stream().text("a").text("b").stall()),
        ("within an event", 2, Reply::stream().text("a").chunk("data: {").stall()),
        ("after its finish", 2, Reply::stream().text("a").event(&finish("stop")).stall()),
    ] {
        let fake = Fake::replying([reply]).await;
        let mut outputs = ask(&upstream(fake.config())).await;
        for _ in 0..pieces {
            outputs.next().await.unwrap().unwrap();
        }
        // It is read on until the fake has the request; then it is dropped wherever it is.
        tokio::select! {
            () = async { while outputs.next().await.is_some() {} } => panic!("it goes on {when}"),
            () = until("the fake is asked", || fake.running() == 1) => {}
        }
        drop(outputs);
        until(&format!("it stops {when}"), || fake.running() == 0).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_asked_for_yet_asks_nothing() {
    let fake = Fake::replying([Reply::answer(["a"])]).await;
    drop(ask(&upstream(fake.config())).await);
    assert_eq!(fake.connections(), 0);
}

#[tokio::test]
async fn dropping_while_it_waits_to_ask_again_asks_no_more() {
    let broken = Reply::status("500 Internal Server Error", "retry-after: 4\r\n", "");
    let fake = Fake::replying([broken]).await;
    let mut outputs = ask(&upstream(Config { retries: 9, ..fake.config() })).await;
    tokio::select! {
        () = async { while outputs.next().await.is_some() {} } => panic!("it waits"),
        () = until("the fake is asked", || fake.seen().len() == 1) => {}
    }
    drop(outputs);
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn stopping_one_leaves_the_others_alone() {
    let fake = Fake::replying([Reply::stream().text("a").stall(), Reply::answer(["a", "b", "c"])]).await;
    let upstream = upstream(fake.config());
    let mut stopped = ask(&upstream).await;
    stopped.next().await.unwrap().unwrap();
    let mut other = ask(&upstream).await;
    other.next().await.unwrap().unwrap();
    drop(stopped);
    assert!(read(other).await.is_whole());
}
