//! Whether this process lives, and whether it is of use.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use crate::app::App;

/// `GET /health`: the process answers, so it lives. Says nothing about its stores: restarting this process would not
/// bring those back.
pub(crate) async fn health() -> impl IntoResponse {
    Json(json!({"status": "ok"}))
}

#[derive(Serialize)]
struct NotReady {
    status: &'static str,
    /// Every reason, for people.
    reasons: Vec<String>,
}

/// `GET /ready`: whether to send prompts here. 503 with every reason while they would not be accepted.
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let mut reasons = app.generations.ready().await.err().unwrap_or_default();
    if app.drain.is_cancelled() {
        reasons.insert(0, "the server is draining".to_owned());
    }
    if reasons.is_empty() {
        return Json(json!({"status": "ready"})).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(NotReady { status: "not ready", reasons })).into_response()
}
