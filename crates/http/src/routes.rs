//! The only file that names the front ends: which path and method is answered by what, and what all responses share.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    http::{HeaderName, Method, header},
    routing::get,
};
use tokenwire_core::Generations;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{self, AllowHeaders, AllowOrigin, CorsLayer};

use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    ask,
    config::{Config, Cors},
    front::{
        app::App,
        limits::Limits,
        problem::Problem,
        refusal::{Refusal, RefusalBody},
    },
    openai::{self, chat, completions, error::ErrorEnvelope, models, responses},
    ops::{
        health, metrics,
        openapi::{self, Document},
    },
    server, ui,
};

/// Serves the front ends on a socket that the caller owns, until a stop is requested. Returns when every connection has
/// ended: some time after `soft` fires, or at once when `hard` does. A soft stop waits for clients that send their body slowly
/// or take no bytes, each bounded by its timeout. Dropping the future is a hard stop.
pub async fn serve(
    listener: TcpListener,
    generations: Generations,
    config: Config,
    soft: CancellationToken,
    hard: CancellationToken,
) {
    let router = router(generations, &config, soft.clone());
    server::serve_router(listener, router, config, soft, hard).await;
}

/// Serves `GET /metrics` and `GET /health` on a socket that the caller owns, as [`serve`] does the public paths. `render` gives
/// the metrics in Prometheus's text format.
pub async fn serve_operators(
    listener: TcpListener,
    render: impl Fn() -> String + Send + Sync + 'static,
    soft: CancellationToken,
    hard: CancellationToken,
) {
    let router = or_not_found(metrics::routes(render).route("/health", get(health::health)));
    server::serve_router(listener, router, Config::default(), soft, hard).await;
}

/// The front ends as a service, for [`serve`] and for tests that need no socket. `drain` aborts every stream and turns
/// `/ready` to 503.
pub fn router(generations: Generations, config: &Config, drain: CancellationToken) -> Router {
    let app = App { generations, limits: Limits::new(config), config: Arc::new(config.clone()), drain };
    let routes = Router::from(front_ends()).merge(ui::routes());
    let routes = or_not_found(routes).with_state(app);
    match allowed_origins(&config.cors) {
        Some(origins) => routes.layer(cors_layer(origins)),
        None => routes,
    }
}

/// Every front end but the page, and what it says of itself.
fn front_ends() -> OpenApiRouter<App> {
    let openai = OpenApiRouter::new()
        .merge(chat::routes())
        .merge(completions::routes())
        .merge(responses::routes())
        .merge(models::routes());
    OpenApiRouter::with_openapi(Envelopes::openapi())
        .merge(ask::routes())
        .merge(openai::with_dialect(openai))
        .merge(health::routes())
        .merge(openapi::routes(Document(document)))
}

/// What refusals refer to.
#[derive(OpenApi)]
#[openapi(components(schemas(RefusalBody<'_>, ErrorEnvelope<'_>)))]
struct Envelopes;

/// The document that `GET /openapi.json` answers with.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::complete(front_ends().into_openapi()));
    &DOCUMENT
}

fn or_not_found<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes
        .fallback(async || Refusal::from(Problem::path_not_found()))
        .method_not_allowed_fallback(async || Refusal::from(Problem::method_not_allowed()))
}

fn allowed_origins(cors: &Cors) -> Option<AllowOrigin> {
    match cors {
        Cors::Any => Some(cors::Any.into()),
        Cors::Origins(origins) => Some(AllowOrigin::list(origins.iter().cloned())),
        Cors::Off => None,
    }
}

/// What a page of another origin needs: to send JSON, a cursor, and whatever headers its SDK adds; to read where its
/// generation is, when to retry, and the id of its call. No credentials: there are none here.
fn cors_layer(origins: AllowOrigin) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            header::LOCATION,
            header::RETRY_AFTER,
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("x-should-retry"),
        ])
}
