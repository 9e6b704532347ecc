//! How the events of a response come. What they say, and that resuming gives exactly the rest, is in `golden`.

use axum::http::Method;
use serde_json::{Value, json};
use tokenwire_core::TextSoFar;

use super::asked;
use crate::{
    openai::id,
    support::{Stage, delta, done, piece, started, text},
};

#[tokio::test]
async fn a_waiting_reader_gets_each_event_as_it_comes_and_later_readers_get_the_same() {
    let stage = Stage::new();
    let live = stage.respond(&asked(&json!({"stream": true}))).await;
    let id = id(&live);
    let mut body = live.into_body();
    let mut seen = piece(&mut body).await.unwrap().unwrap();
    assert!(seen.contains("event: response.created") && !seen.contains("response.queued"), "{seen}");
    let mut writer = stage.log.open_writer(id).await.unwrap();
    for event in [started(1, TextSoFar::Kept), delta("a"), delta("b"), done()] {
        if event.is_terminal() {
            writer.seal(&event).await.unwrap();
        } else {
            writer.append(&[event]).await.unwrap();
        }
        seen += &piece(&mut body).await.unwrap().unwrap();
    }
    assert!(piece(&mut body).await.is_none());
    assert_eq!(seen, text(stage.response(Method::GET, id, "?stream=true").await).await);
}

#[tokio::test]
async fn a_drain_cuts_a_stream_rather_than_ending_it() {
    let stage = Stage::new();
    let mut body = stage.respond(&asked(&json!({"stream": true}))).await.into_body();
    piece(&mut body).await.unwrap().unwrap();
    stage.drain.cancel();
    assert!(piece(&mut body).await.unwrap().is_err());
}

#[tokio::test]
async fn an_answer_beyond_all_bounds_is_a_failure() {
    let stage = Stage::new();
    let part = delta(&"long ".repeat(200_000));
    let id = stage.responded(&json!({}), &[&vec![part; 9][..], &[done()]].concat()).await;
    let told = text(stage.response(Method::GET, id, "?stream=true&starting_after=13").await).await;
    let frames: Vec<_> = told.split("\n\n").collect();
    assert!(frames[0].starts_with("event: error\n") && frames[0].contains("answer_too_large"));
    let failed: Value = serde_json::from_str(frames[1].split_once("data:").unwrap().1).unwrap();
    assert_eq!(failed["response"]["status"], "failed");
    assert_eq!(stage.resource(id).await["error"]["code"], "answer_too_large");
}
