//! Calls as such: their names, and the same call twice.

use axum::{body::Body, http::Method};
use serde_json::{Value, json};
use tokenwire_core::{Event, Failure};

use super::{CHAT, hello, id, refusal, with};
use crate::support::{Stage, delta, done, text};

#[tokio::test]
async fn every_answer_of_these_paths_has_a_name_of_its_own() {
    let stage = Stage::new();
    let mut names = Vec::new();
    for (method, path) in [
        (Method::GET, "/v1/models"),
        (Method::GET, "/v1/models/gpt"),
        (Method::GET, "/v1/nothing"),
        (Method::POST, "/v1/models"),
        (Method::POST, CHAT),
        (Method::POST, CHAT),
    ] {
        let given = [("x-request-id", "mine")];
        let response = stage.call(method, path, &given, Body::empty()).await;
        names.push(response.headers()["x-request-id"].to_str().unwrap().to_owned());
    }
    let streamed = stage.chat(&with(&json!({"stream": true})), &[]).await;
    names.push(streamed.headers()["x-request-id"].to_str().unwrap().to_owned());
    assert!(names.iter().all(|name| name.starts_with("req_")), "{names:?}");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 7);
    assert!(!stage.get("/health", &[]).await.headers().contains_key("x-request-id"));
}

#[tokio::test]
async fn the_same_key_and_body_attach_to_the_same_generation_however_it_is_shown() {
    let stage = Stage::new();
    let key = [("idempotency-key", "order-1")];
    let streamed = with(&json!({"stream": true, "user": "u"}));
    let first = stage.chat(&streamed, &key).await;
    let second = stage.chat(&with(&json!({"stream": true})), &key).await;
    let id = id(&first);
    stage.write(id, &[delta("Hi"), done()]).await;
    assert_eq!(text(first).await, text(second).await);
    let whole: Value = serde_json::from_str(&text(stage.chat(&hello(), &key).await).await).unwrap();
    assert_eq!(whole["id"], format!("chatcmpl-{id}"));
    assert_eq!(whole["choices"][0]["message"]["content"], "Hi");

    let other = stage.chat(&streamed, &[("idempotency-key", "order-2")]).await;
    assert_ne!(super::id(&other), id);
    let fresh = stage.chat(&streamed, &[]).await;
    assert_ne!(super::id(&fresh), id);
}

#[tokio::test]
async fn the_same_key_with_another_body_is_a_conflict_and_not_retried() {
    let stage = Stage::new();
    let key = [("idempotency-key", "order-1")];
    stage.chat(&with(&json!({"stream": true})), &key).await;
    for other in [json!({"temperature": 0}), json!({"messages": [{"role": "user", "content": "Bye"}]})] {
        let response = stage.chat(&with(&other), &key).await;
        assert_eq!(response.headers()["x-should-retry"], "false");
        let (status, error) = refusal(response).await;
        assert_eq!((status, &error["code"]), (409, &json!("conflict")));
    }
    for bad in [[("idempotency-key", "")], [("idempotency-key", "a b")]] {
        let (status, error) = refusal(stage.chat(&hello(), &bad).await).await;
        assert_eq!((status, &error["param"]), (400, &json!("Idempotency-Key")));
    }
}

#[tokio::test]
async fn a_call_repeated_after_the_end_tells_the_same_story() {
    let stage = Stage::new();
    for end in [done(), Event::Failed { failure: Failure::TimedOut }] {
        let streamed = with(&json!({"stream": true, "stream_options": {"include_usage": true}}));
        let key = tokenwire_core::GenerationId::fresh().to_string();
        let key = [("idempotency-key", &*key)];
        let live = stage.chat(&streamed, &key).await;
        stage.write(id(&live), &[delta("Hi"), end]).await;
        let live = text(live).await;
        assert_eq!(live, text(stage.chat(&streamed, &key).await).await, "I8");
    }
}
