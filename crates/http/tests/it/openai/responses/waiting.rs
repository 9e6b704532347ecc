//! Waiting for the end of a response without a stream.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use tokenwire_core::TextSoFar;
use tokenwire_http::Config;
use tokio::time::Instant;

use super::{RESPONSES, object};
use crate::{
    openai::refusal,
    support::{Stage, delta, done, started},
};

#[tokio::test(start_paused = true)]
async fn a_reader_that_says_nothing_of_waiting_is_answered_at_once() {
    let stage = Stage::new();
    let id = stage.responded(&json!({}), &[]).await;
    let began = Instant::now();
    let response = stage.response(Method::GET, id, "").await;
    assert!(!response.headers().contains_key("preference-applied"));
    assert_eq!(object(response).await["status"], "queued");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_response() {
    let stage = Stage::new();
    for (query, headers, applied) in
        [("?wait=20", &[][..], None), ("", &[("prefer", "wait=20")][..], Some("wait=20"))]
    {
        let id = stage.responded(&json!({}), &[started(1, TextSoFar::Kept), delta("Hel")]).await;
        let path = format!("{RESPONSES}/resp_{id}{query}");
        let began = Instant::now();
        let (response, ()) = tokio::join!(stage.get(&path, headers), async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            stage.write(id, &[delta("lo"), done()]).await;
        });
        assert!(began.elapsed() < Duration::from_secs(20));
        let found = response.headers().get("preference-applied").map(|value| value.to_str().unwrap());
        assert_eq!(found, applied);
        let shown = object(response).await;
        assert_eq!(
            (&shown["status"], &shown["output"][0]["content"][0]["text"]),
            (&json!("completed"), &json!("Hello"))
        );
        assert_eq!(shown, stage.resource(id).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_over_shows_the_response_as_it_stands() {
    let stage = Stage::new();
    let id = stage.responded(&json!({}), &[started(1, TextSoFar::Kept), delta("Hel")]).await;
    let began = Instant::now();
    let path = format!("{RESPONSES}/resp_{id}");
    let response = stage.get(&path, &[("prefer", "respond-async, wait=20")]).await;
    assert_eq!(response.headers()["preference-applied"], "wait=20");
    assert_eq!(began.elapsed(), Duration::from_secs(20));
    let shown = object(response).await;
    assert_eq!(
        (&shown["status"], &shown["output"][0]["content"][0]["text"]),
        (&json!("in_progress"), &json!("Hel"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_the_wait_and_not_the_answer() {
    let stage = Stage::new();
    let id = stage.responded(&json!({}), &[]).await;
    let began = Instant::now();
    let (response, ()) = tokio::join!(stage.response(Method::GET, id, "?wait=50"), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage.drain.cancel();
    });
    assert_eq!(object(response).await["status"], "queued");
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_client_counts_as_an_open_stream() {
    let stage = Stage::with(Config { max_streams: 1, ..Config::default() });
    let id = stage.responded(&json!({}), &[]).await;
    let (first, second) =
        tokio::join!(stage.response(Method::GET, id, "?wait=5"), stage.response(Method::GET, id, "?wait=5"),);
    assert_eq!(first.status(), 200);
    let (status, error) = refusal(second).await;
    assert_eq!((status, &error["code"]), (503, &json!("too_many_streams")));
    // There is always room for those who do not wait.
    assert_eq!(stage.response(Method::GET, id, "").await.status(), 200);
}
