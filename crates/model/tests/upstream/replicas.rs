//! Several base URLs.

use futures::StreamExt;
use tokenwire_core::model::{ModelError, Output};
use tokio::time::advance;

use super::fake::*;

#[tokio::test]
async fn streams_are_spread_over_the_replicas() {
    let fakes = [spoken_for().await, spoken_for().await, spoken_for().await];
    let upstream = upstream(config(&fakes.each_ref().map(Fake::port)));
    let mut open = Vec::new();
    for _ in 0..6 {
        let mut outputs = ask(&upstream).await;
        outputs.next().await.unwrap().unwrap();
        open.push(outputs);
    }
    assert_eq!(fakes.each_ref().map(Fake::running), [2, 2, 2]);
}

async fn spoken_for() -> Fake {
    Fake::replying([Reply::stream().text("a").stall()]).await
}

#[tokio::test]
async fn a_replica_that_is_down_costs_nobody_an_answer() {
    let fake = Fake::replying([Reply::answer(["a"])]).await;
    let upstream = upstream(config(&[closed_port().await, fake.port()]));
    for _ in 0..4 {
        answer(&upstream).await.end.unwrap();
    }
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test]
async fn a_replica_that_is_busy_is_left_alone_and_another_is_asked_at_once() {
    let busy = Fake::replying([Reply::status("429 Too Many Requests", "retry-after: 25\r\n", "")]).await;
    let free = Fake::replying([Reply::answer(["a"])]).await;
    let upstream = upstream(config(&[busy.port(), free.port()]));
    for _ in 0..4 {
        answer(&upstream).await.end.unwrap();
    }
    assert_eq!((busy.seen().len(), free.seen().len()), (1, 4));
}

#[tokio::test]
async fn a_replica_that_breaks_off_is_not_asked_for_the_next_answer() {
    let breaking = Fake::replying([Reply::stream().text("a").reset()]).await;
    let sound = Fake::replying([Reply::answer(["a"])]).await;
    let upstream = upstream(config(&[breaking.port(), sound.port()]));
    assert!(answer(&upstream).await.is_unavailable());
    for _ in 0..3 {
        answer(&upstream).await.end.unwrap();
    }
    assert_eq!(breaking.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn when_all_are_down_it_is_said_and_when_one_is_back_it_is_used() {
    let ports = [closed_port().await, closed_port().await];
    let upstream = upstream(config(&ports));
    let down = frozen(answer(&upstream)).await;
    let wait = down.wait().unwrap();
    let Err(ModelError::Absent { cause, .. }) = down.end else { panic!("{down:?}") };
    let told = tokenwire_core::explain(&*cause);
    assert!(told.contains("no answer after 2 tries") && told.contains("refused"), "{told}");
    assert!(!told.contains("http://"), "where it is is for the log: {told}");
    let back = Fake::at(ports[0], Reply::answer(["a"])).await;
    advance(wait).await;
    for _ in 0..3 {
        assert!(frozen(answer(&upstream)).await.is_whole());
    }
    assert_eq!(back.seen().len(), 3);
}

#[tokio::test]
async fn a_stream_that_is_dropped_makes_room_at_its_replica() {
    let fakes = [spoken_for().await, spoken_for().await];
    let upstream = upstream(config(&fakes.each_ref().map(Fake::port)));
    for _ in 0..3 {
        let mut first = ask(&upstream).await;
        first.next().await.unwrap().unwrap();
        let mut second = ask(&upstream).await;
        let said = second.next().await.unwrap().unwrap();
        assert!(matches!(said, Output::Text { .. }));
        assert_eq!(fakes.each_ref().map(Fake::running), [1, 1]);
        drop((first, second));
        until("nothing runs", || fakes.iter().all(|fake| fake.running() == 0)).await;
    }
}
