//! OpenAI's paths.

use axum::{
    body::Body,
    http::{Method, Response},
};
use serde_json::{Value, json};
use tokenwire_core::{Event, GenerationId};

use crate::support::{JSON, Stage, text};

mod answers;
mod calls;
mod chunks;
mod models;
mod refusals;
mod responses;

pub(crate) const CHAT: &str = "/v1/chat/completions";

impl Stage {
    pub(crate) async fn chat(&self, body: &Value, headers: &[(&str, &str)]) -> Response<Body> {
        let headers = [&[JSON], headers].concat();
        self.call(Method::POST, CHAT, &headers, body.to_string()).await
    }

    /// What a call gives whose generation has these entries, and the generation's id.
    pub(crate) async fn told(&self, body: &Value, events: &[Event]) -> (GenerationId, Response<Body>) {
        let key = GenerationId::fresh().to_string();
        let headers = [("idempotency-key", &*key)];
        let mut streamed = body.clone();
        streamed["stream"] = json!(true);
        let id = id(&self.chat(&streamed, &headers).await);
        self.write(id, events).await;
        (id, self.chat(body, &headers).await)
    }

    /// When a generation was accepted, in seconds.
    pub(crate) async fn created(&self, id: GenerationId) -> u64 {
        self.generations.spec(id).await.unwrap().created_at.as_millis() / 1000
    }
}

/// The generation that an answer says it is about.
pub(crate) fn id(response: &Response<Body>) -> GenerationId {
    response.headers()["location"].to_str().unwrap().strip_prefix("/ask/").unwrap().parse().unwrap()
}

pub(crate) fn hello() -> Value {
    json!({"model": "simulated", "messages": [{"role": "user", "content": "Hello"}]})
}

pub(crate) fn with(more: &Value) -> Value {
    let mut body = hello();
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A refusal: its status, and the object inside its envelope, which has all of its fields.
pub(crate) async fn refusal(response: Response<Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    assert!(status >= 400);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(response.headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
    let never = response.headers().get("x-should-retry").is_some_and(|value| value == "false");
    assert_eq!(response.headers().contains_key("retry-after"), status == 503 && !never);
    let body: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    let error = body["error"].clone();
    let fields: Vec<_> = error.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["code", "message", "param", "type"]);
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    (status, error)
}
