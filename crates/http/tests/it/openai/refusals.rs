//! What is refused, in OpenAI's envelope, and by its name.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use serde_json::{Value, json};
use testkit::wrapped::Queue;
use tokenwire_core::TextSoFar;
use tokenwire_http::Config;

use super::{CHAT, hello, id, refusal, with};
use crate::{
    stores::{Down, Plug},
    support::{JSON, Stage, started},
};

#[tokio::test]
async fn every_parameter_that_is_not_done_here_is_refused_by_its_name() {
    let stage = Stage::new();
    let tool = json!({"type": "function", "function": {"name": "look"}});
    for (more, param) in [
        (json!({"n": 2}), "n"),
        (json!({"n": 0}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"top_logprobs": 3}), "top_logprobs"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (json!({"audio": {"voice": "a", "format": "mp3"}}), "audio"),
        (json!({"functions": [{"name": "f"}]}), "functions"),
        (json!({"function_call": "auto"}), "function_call"),
        (json!({"add_generation_prompt": false}), "add_generation_prompt"),
        (json!({"continue_final_message": true}), "continue_final_message"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options"),
        (
            json!({"stream": true, "stream_options": {"include_obfuscation": true}}),
            "stream_options.include_obfuscation",
        ),
        (json!({"stream": true, "stream_options": {"other": 1}}), "stream_options.other"),
        (json!({"stream": true, "stream_options": 1}), "stream_options"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"top_p": -1}), "top_p"),
        (json!({"seed": 0.5}), "seed"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_completion_tokens": -1}), "max_completion_tokens"),
        (json!({"max_completion_tokens": 1, "max_tokens": 2}), "max_tokens"),
        (json!({"stop": [1]}), "stop"),
        (json!({"frequency_penalty": 3}), "frequency_penalty"),
        (json!({"presence_penalty": "a"}), "presence_penalty"),
        (json!({"logit_bias": [1]}), "logit_bias"),
        (json!({"response_format": "json"}), "response_format"),
        (json!({"response_format": {}}), "response_format.type"),
        (json!({"reasoning_effort": 1}), "reasoning_effort"),
        (json!({"verbosity": 1}), "verbosity"),
        (json!({"tools": {}}), "tools"),
        (json!({"tools": [1]}), "tools[0]"),
        (json!({"tools": [tool, {"type": "custom", "custom": {"name": "c"}}]}), "tools[1].type"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
        (json!({"tools": [{"type": "function", "function": {}}]}), "tools[0].function.name"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tool_choice": {"type": "function", "function": {"name": "look"}}}), "tool_choice"),
        (json!({"tools": [tool], "tool_choice": "sometimes"}), "tool_choice"),
        (json!({"tools": [tool], "tool_choice": 1}), "tool_choice"),
        (json!({"tools": [tool], "parallel_tool_calls": 1}), "parallel_tool_calls"),
        (json!({"model": 1}), "model"),
        (json!({"messages": null}), "messages"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
            "messages[0].content[0].type",
        ),
    ] {
        let (status, error) = refusal(stage.chat(&with(&more), &[]).await).await;
        assert_eq!((status, &error["type"]), (400, &json!("invalid_request_error")), "{more}");
        assert_eq!(error["param"], param, "{more}");
        assert!(error["message"].as_str().unwrap().starts_with(param), "{error}");
    }
}

#[tokio::test]
async fn a_model_that_is_not_there_is_not_found() {
    let stage = Stage::new();
    for model in ["gpt", "", "a b"] {
        let (status, error) = refusal(stage.chat(&with(&json!({"model": model})), &[]).await).await;
        let message = "model is not one of those that exist: other, simulated";
        let expected = json!({"message": message, "type": "invalid_request_error", "param": "model", "code": "model_not_found"});
        assert_eq!((status, error), (404, expected));
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused() {
    let stage = Stage::new();
    let large = "x".repeat(1024 * 1024 + 1);
    for (headers, body, status) in [
        (&[JSON][..], "", 400),
        (&[JSON], "{", 400),
        (&[JSON], "[1]", 400),
        (&[JSON], &large, 413),
        (&[], "{}", 415),
        (&[("content-type", "text/plain")], "{}", 415),
    ] {
        let response = stage.call(Method::POST, CHAT, headers, body.to_owned()).await;
        let (found, error) = refusal(response).await;
        assert_eq!((found, &error["type"]), (status, &json!("invalid_request_error")), "{body:.20}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_refused_in_time() {
    let silent = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let response = Stage::new().call(Method::POST, CHAT, &[JSON], silent).await;
    assert_eq!(refusal(response).await.0, 408);
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_told_in_the_same_envelope() {
    let stage = Stage::new();
    for path in
        ["/v1", "/v1/", "/v1/embeddings", "/v1/chat", "/v1/chat/completions/x", "/v1/models/", "/v1/%ff"]
    {
        let (status, error) = refusal(stage.get(path, &[]).await).await;
        assert_eq!(status, 404, "{path}: {error}");
    }
    for (method, path, allow) in [
        (Method::GET, CHAT, "POST"),
        (Method::POST, "/v1/models", "GET,HEAD"),
        (Method::DELETE, "/v1/models/simulated", "GET,HEAD"),
    ] {
        let response = stage.call(method, path, &[], Body::empty()).await;
        assert_eq!(response.headers()["allow"], allow, "{path}");
        let (status, error) = refusal(response).await;
        assert_eq!((status, &error["code"]), (405, &json!("method_not_allowed")), "{path}");
    }
}

#[tokio::test]
async fn while_a_store_is_down_clients_are_told_when_to_come_back() {
    let stage = Stage::over(Plug::pulled(), Arc::new(Queue(Down)), Config::default());
    let queue_only = Stage::over(Stage::new().log, Arc::new(Queue(Down)), Config::default());
    for stage in [stage, queue_only] {
        for body in [hello(), with(&json!({"stream": true}))] {
            let response = stage.chat(&body, &[]).await;
            let (status, error) = refusal(response).await;
            assert_eq!((status, &error["type"]), (503, &json!("server_error")));
            assert_eq!(error["code"], "unavailable");
        }
    }
}

#[tokio::test]
async fn one_stream_too_many_is_told_to_come_back() {
    let stage = Stage::with(Config { max_streams: 1, ..Config::default() });
    let first = stage.chat(&with(&json!({"stream": true})), &[]).await;
    assert_eq!(first.status(), StatusCode::OK);
    for body in [hello(), with(&json!({"stream": true}))] {
        let (status, error) = refusal(stage.chat(&body, &[]).await).await;
        assert_eq!((status, &error["code"]), (503, &json!("too_many_streams")));
    }
}

#[tokio::test]
async fn nothing_is_accepted_of_a_call_that_is_refused() {
    let stage = Stage::new();
    let key = [("idempotency-key", "order-1")];
    let refused: Value = with(&json!({"n": 2}));
    assert_eq!(refusal(stage.chat(&refused, &key).await).await.0, 400);
    // The key is still free for another body.
    assert_eq!(stage.chat(&with(&json!({"stream": true})), &key).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_prompt_too_many_is_refused_and_an_accepted_one_attaches() {
    let stage = Stage::new();
    let (streamed, key) = (with(&json!({"stream": true})), [("idempotency-key", "order-1")]);
    let accepted = id(&stage.chat(&streamed, &key).await);
    let full = stage.overloaded();
    for body in [hello(), streamed.clone()] {
        let (status, error) = refusal(full.chat(&body, &[("idempotency-key", "order-2")]).await).await;
        assert_eq!((status, &error["code"]), (503, &json!("overloaded")));
    }
    stage.write(accepted, &[started(1, TextSoFar::Kept)]).await;
    assert_eq!(id(&full.chat(&streamed, &key).await), accepted);
    // The refused key is still free for another body.
    let other = with(&json!({"stream": true, "temperature": 0.5}));
    assert_eq!(stage.chat(&other, &[("idempotency-key", "order-2")]).await.status(), StatusCode::OK);
}
