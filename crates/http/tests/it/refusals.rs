//! What is refused, and that every refusal says why in the same envelope.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use serde_json::Value;
use testkit::wrapped::Queue;
use tokenwire_core::{GenerationId, TextSoFar};
use tokenwire_http::Config;

use crate::{
    stores::{Down, Plug},
    support::{JSON, Stage, started, text},
};

/// What a refusal says: status, type, field.
async fn refusal(response: axum::response::Response) -> (u16, String, Option<String>) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers().contains_key("retry-after"), status == 503);
    let body: Value = serde_json::from_str(&text(response).await).unwrap();
    let error = &body["error"];
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    assert_eq!(body.as_object().unwrap().len(), 1);
    (status, error["type"].as_str().unwrap().to_owned(), error["field"].as_str().map(ToOwned::to_owned))
}

fn says(status: u16, kind: &str, field: Option<&str>) -> (u16, String, Option<String>) {
    (status, kind.to_owned(), field.map(ToOwned::to_owned))
}

#[tokio::test]
async fn a_question_that_cannot_be_asked_is_refused_with_its_reason() {
    let stage = Stage::new();
    let too_long = format!(r#"{{"query": "{}"}}"#, "x".repeat(256 * 1024 + 1));
    for (body, expected) in [
        ("", says(400, "invalid_json", None)),
        ("query=Hello", says(400, "invalid_json", None)),
        ("[1]", says(422, "invalid_body", None)),
        ("{}", says(422, "invalid_field", Some("query"))),
        (r#"{"query": ""}"#, says(422, "invalid_field", Some("query"))),
        (r#"{"query": 1}"#, says(422, "invalid_field", Some("query"))),
        (&too_long, says(422, "invalid_field", Some("query"))),
        (r#"{"query": "a", "uuid": "x"}"#, says(422, "invalid_field", Some("uuid"))),
        (r#"{"query": "a", "model": "gpt"}"#, says(422, "invalid_field", Some("model"))),
    ] {
        assert_eq!(refusal(stage.post(body).await).await, expected, "{body:.40}");
    }
}

#[tokio::test]
async fn an_unknown_model_is_answered_with_those_that_exist() {
    let stage = Stage::new();
    let answer = text(stage.post(r#"{"query": "a", "model": "gpt"}"#).await).await;
    let message = "model is not one of those that exist: other, simulated";
    let expected =
        serde_json::json!({"error": {"type": "invalid_field", "message": message, "field": "model"}});
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), expected);
}

#[tokio::test]
async fn what_is_not_declared_as_json_is_refused_and_accept_is_not_looked_at() {
    let stage = Stage::new();
    let question = r#"{"query": "Hello"}"#;
    for headers in
        [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/x-www-form-urlencoded")]]
    {
        let response = stage.call(Method::POST, "/ask", headers, question).await;
        assert_eq!(refusal(response).await, says(415, "unsupported_media_type", None));
    }
    for accept in ["application/json", "text/html", "nonsense"] {
        let json = ("content-type", "application/json; charset=utf-8");
        let response = stage.call(Method::POST, "/ask", &[json, ("accept", accept)], question).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_declared_or_not() {
    let stage = Stage::new();
    let large = "x".repeat(1024 * 1024 + 1);
    assert_eq!(refusal(stage.post(&large).await).await, says(413, "body_too_large", None));
    let chunks = futures::stream::iter(
        large
            .as_bytes()
            .chunks(4096)
            .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
            .collect::<Vec<_>>(),
    );
    let response = stage.call(Method::POST, "/ask", &[JSON], Body::from_stream(chunks)).await;
    assert_eq!(refusal(response).await, says(413, "body_too_large", None));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_refused_in_time() {
    let stage = Stage::new();
    let silent = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    assert_eq!(
        refusal(stage.call(Method::POST, "/ask", &[JSON], silent).await).await,
        says(408, "body_too_slow", None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_is_not_ours_is_refused() {
    let stage = Stage::new();
    let id = stage.written(&[started(1, TextSoFar::Kept)]).await;
    let path = format!("/ask/{id}");
    for cursor in ["abc", "-1", "01", "1.5", "2", "999999999999999999", "18446744073709551615"] {
        for response in [
            stage.get(&path, &[("last-event-id", cursor)]).await,
            stage.get(&format!("{path}?last_event_id={cursor}"), &[]).await,
            // The header wins also when it is the one that is wrong.
            stage.get(&format!("{path}?last_event_id=1"), &[("last-event-id", cursor)]).await,
        ] {
            assert_eq!(
                refusal(response).await,
                says(400, "invalid_cursor", Some("last_event_id")),
                "{cursor}"
            );
        }
    }
    for response in [
        stage.get(&path, &[("last-event-id", "1"), ("last-event-id", "1")]).await,
        stage.get(&format!("{path}?last_event_id=1&last_event_id=1"), &[]).await,
    ] {
        assert_eq!(refusal(response).await, says(400, "invalid_cursor", Some("last_event_id")));
    }
}

#[tokio::test]
async fn a_bad_cursor_on_a_question_is_refused_before_anything_is_accepted() {
    let stage = Stage::new();
    let id = GenerationId::fresh();
    let body = format!(r#"{{"query": "Hello", "uuid": "{id}"}}"#);
    let response = stage.call(Method::POST, "/ask", &[JSON, ("last-event-id", "x")], body).await;
    assert_eq!(refusal(response).await, says(400, "invalid_cursor", Some("last_event_id")));
    assert_eq!(stage.get(&format!("/ask/{id}"), &[]).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_generation_that_is_not_there_is_not_found_whatever_its_id_looks_like() {
    let stage = Stage::new();
    for id in
        [&*GenerationId::fresh().to_string(), "42", "%ff", "..%2f", "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2bg"]
    {
        for method in [Method::GET, Method::DELETE] {
            let response = stage.call(method, &format!("/ask/{id}"), &[], Body::empty()).await;
            assert_eq!(refusal(response).await, says(404, "generation_not_found", None), "{id}");
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_told_in_the_same_envelope() {
    let stage = Stage::new();
    for path in ["/nothing", "/ask/", "/ask/1/2", "/assets/nothing.js", "/assets/../Cargo.toml", "//"] {
        assert_eq!(refusal(stage.get(path, &[]).await).await, says(404, "path_not_found", None), "{path}");
    }
    for (method, path, allow) in [
        (Method::GET, "/ask", "POST"),
        (Method::PUT, "/ask", "POST"),
        (Method::OPTIONS, "/ask", "POST"),
        (Method::POST, "/ask/42", "GET,HEAD,DELETE"),
        (Method::POST, "/health", "GET,HEAD"),
        (Method::DELETE, "/", "GET,HEAD"),
    ] {
        let response = stage.call(method, path, &[], Body::empty()).await;
        assert_eq!(response.headers()["allow"], allow, "{path}");
        assert_eq!(refusal(response).await, says(405, "method_not_allowed", None), "{path}");
    }
}

#[tokio::test]
async fn while_a_store_is_down_prompts_are_refused_with_a_time_to_come_back() {
    let question = r#"{"query": "Hello"}"#;
    let stage = Stage::over(Plug::pulled(), Arc::new(Queue(Down)), Config::default());
    let path = format!("/ask/{}", GenerationId::fresh());
    for response in [
        stage.post(question).await,
        stage.get(&path, &[]).await,
        stage.call(Method::DELETE, &path, &[], Body::empty()).await,
    ] {
        assert_eq!(refusal(response).await, says(503, "unavailable", None));
    }
    let queue_only = Stage::over(Stage::new().log, Arc::new(Queue(Down)), Config::default());
    assert_eq!(refusal(queue_only.post(question).await).await, says(503, "unavailable", None));
}

#[tokio::test]
async fn ready_says_every_reason_why_not_and_health_says_only_that_the_process_lives() {
    let well = Stage::new();
    let down = Stage::over(Plug::pulled(), Arc::new(Queue(Down)), Config::default());
    for stage in [&well, &down] {
        let health = stage.get("/health", &[]).await;
        assert_eq!(health.status(), StatusCode::OK);
        assert_eq!(text(health).await, r#"{"status":"ok"}"#);
    }
    let ready = well.get("/ready", &[]).await;
    assert_eq!(ready.status(), StatusCode::OK);
    assert_eq!(text(ready).await, r#"{"status":"ready"}"#);

    well.drain.cancel();
    let draining = well.get("/ready", &[]).await;
    assert_eq!(draining.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text(draining).await, r#"{"status":"not ready","reasons":["the server is draining"]}"#);

    let unready = down.get("/ready", &[]).await;
    assert_eq!(unready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let expected = r#"{"status":"not ready","reasons":["the token log is unavailable: unplugged","the job queue is unavailable: unplugged"]}"#;
    assert_eq!(text(unready).await, expected);
}

#[tokio::test]
async fn a_prompt_too_many_is_refused_and_an_accepted_one_attaches() {
    let stage = Stage::new();
    let asked = |id: GenerationId| format!(r#"{{"query": "Hello", "uuid": "{id}"}}"#);
    let (accepted, new) = (GenerationId::fresh(), GenerationId::fresh());
    assert_eq!(stage.post(&asked(accepted)).await.status(), StatusCode::OK);
    let full = stage.overloaded();
    assert_eq!(refusal(full.post(&asked(new)).await).await, says(503, "overloaded", None));
    let looked_up = full.get(&format!("/ask/{new}"), &[]).await;
    assert_eq!(refusal(looked_up).await, says(404, "generation_not_found", None));
    stage.write(accepted, &[started(1, TextSoFar::Kept)]).await;
    assert_eq!(full.post(&asked(accepted)).await.status(), StatusCode::OK);
}
