//! Responses: stored, numbered, read again.

use axum::{
    body::Body,
    http::{Method, Response},
};
use serde_json::{Value, json};
use tokenwire_core::{Event, GenerationId};

use super::id;
use crate::support::{JSON, Stage, text};

mod compaction;
mod conversations;
mod events;
mod refusals;
mod resources;
mod sockets;
mod waiting;

pub(crate) const RESPONSES: &str = "/v1/responses";

/// A request with these fields too.
fn asked(more: &Value) -> Value {
    let mut body = json!({"model": "simulated", "input": "Hello"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

impl Stage {
    async fn respond(&self, body: &Value) -> Response<Body> {
        self.call(Method::POST, RESPONSES, &[JSON], body.to_string()).await
    }

    /// A response in the background whose generation has these entries.
    async fn responded(&self, more: &Value, events: &[Event]) -> GenerationId {
        let mut body = asked(more);
        body["background"] = json!(true);
        let response = self.respond(&body).await;
        assert_eq!(response.status(), 200);
        let id = id(&response);
        if !events.is_empty() {
            self.write(id, events).await;
        }
        id
    }

    async fn response(&self, method: Method, id: GenerationId, rest: &str) -> Response<Body> {
        self.call(method, &format!("{RESPONSES}/resp_{id}{rest}"), &[], Body::empty()).await
    }

    async fn resource(&self, id: GenerationId) -> Value {
        object(self.response(Method::GET, id, "").await).await
    }
}

async fn object(response: Response<Body>) -> Value {
    let status = response.status();
    let body = text(response).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}
