//! Whether this process lives, and whether it is of use.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::front::app::App;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(ready))
}

/// The process answers.
#[derive(Serialize, ToSchema)]
struct Alive {
    #[schema(pattern = "^ok$")]
    status: &'static str,
}

/// Prompts are accepted.
#[derive(Serialize, ToSchema)]
struct Ready {
    #[schema(pattern = "^ready$")]
    status: &'static str,
}

/// Whether the process lives
///
/// Does not check the stores: a restart of this process would not repair them.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "getHealth",
    tag = "Server",
    responses((status = 200, description = "The process answers.", body = Alive)),
)]
pub(crate) async fn health() -> impl IntoResponse {
    Json(Alive { status: "ok" })
}

/// Prompts are not accepted now.
#[derive(Serialize, ToSchema)]
struct NotReady {
    #[schema(pattern = "^not ready$")]
    status: &'static str,
    /// Every reason, for people.
    reasons: Vec<String>,
}

/// Whether prompts are accepted
///
/// For load balancers: whether to send prompts here.
#[utoipa::path(
    get,
    path = "/ready",
    operation_id = "getReadiness",
    tag = "Server",
    responses(
        (status = 200, description = "Prompts are accepted.", body = Ready),
        (status = 503, description = "Prompts are not accepted, and why.", body = NotReady),
    ),
)]
async fn ready(State(app): State<App>) -> Response {
    let mut reasons = app.generations.ready().await.err().unwrap_or_default();
    if app.drain.is_cancelled() {
        reasons.insert(0, "the server is draining".to_owned());
    }
    if reasons.is_empty() {
        return Json(Ready { status: "ready" }).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(NotReady { status: "not ready", reasons })).into_response()
}
