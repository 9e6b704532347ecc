//! Whether this process lives, and whether it is of use.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{ToSchema, openapi::HttpMethod};

use crate::{
    front::app::App,
    openapi::{Answer, Described, schemas::is},
    paths,
};

/// The process answers.
#[derive(Serialize, ToSchema)]
struct Alive {
    #[schema(schema_with = is::ok)]
    status: &'static str,
}

/// Prompts are accepted.
#[derive(Serialize, ToSchema)]
struct Ready {
    #[schema(schema_with = is::ready)]
    status: &'static str,
}

/// `GET /health`: the process answers, so it lives. Says nothing about its stores: restarting this process would not
/// bring those back.
pub(crate) async fn health() -> impl IntoResponse {
    Json(Alive { status: "ok" })
}

/// Prompts are not accepted now.
#[derive(Serialize, ToSchema)]
struct NotReady {
    #[schema(schema_with = is::not_ready)]
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
        return Json(Ready { status: "ready" }).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(NotReady { status: "not ready", reasons })).into_response()
}

pub(crate) fn operations() -> Vec<Described> {
    let health = Described::new(HttpMethod::Get, paths::HEALTH, "getHealth", "Whether the process lives")
        .tagged("Server")
        .about("Says nothing about the stores: restarting this process would not bring those back.")
        .answer(StatusCode::OK, Answer::new("It does.").json::<Alive>());
    let ready = Described::new(HttpMethod::Get, paths::READY, "getReadiness", "Whether prompts are accepted")
        .tagged("Server")
        .about("For load balancers: whether to send prompts here.")
        .answer(StatusCode::OK, Answer::new("They are.").json::<Ready>())
        .answer(StatusCode::SERVICE_UNAVAILABLE, Answer::new("They are not, and why.").json::<NotReady>());
    vec![health, ready]
}
