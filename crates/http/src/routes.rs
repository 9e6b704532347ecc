//! The surface: which path and method is answered by what, and what all answers share.

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderName, Method, header},
    routing::{get, post},
};
use tokenwire_core::Generations;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{self, AllowHeaders, AllowOrigin, CorsLayer};

use crate::{
    app::App,
    ask,
    config::{Config, Cors},
    error::Error,
    health,
    limits::Limits,
    openai, openapi, paths, ui,
};

/// The front ends as a service, for [`crate::serve`] and for tests that need no socket. `drain` aborts every stream and
/// turns `/ready` to 503.
pub fn router(generations: Generations, config: &Config, drain: CancellationToken) -> Router {
    let app = App { generations, limits: Limits::new(config), config: Arc::new(config.clone()), drain };
    let routes = Router::new()
        .route(paths::ASK, post(ask::submit))
        .route(paths::GENERATION, get(ask::follow).delete(ask::cancel))
        .route(paths::HEALTH, get(health::health))
        .route(paths::READY, get(health::ready))
        .route(paths::OPENAPI, get(openapi::serve))
        .merge(openai::routes())
        .merge(ui::routes())
        .fallback(async || Error::NoSuchPath)
        .method_not_allowed_fallback(async || Error::WrongMethod)
        .with_state(app);
    match allowed_origins(&config.cors) {
        Some(origins) => routes.layer(cors_layer(origins)),
        None => routes,
    }
}

fn allowed_origins(cors: &Cors) -> Option<AllowOrigin> {
    match cors {
        Cors::Any => Some(cors::Any.into()),
        Cors::Origins(origins) => Some(AllowOrigin::list(origins.iter().cloned())),
        Cors::Off => None,
    }
}

/// What a page of another origin needs: to send JSON, a cursor, and whatever headers its SDK adds; to read where its
/// generation lives, when to come back, and what its call was named. No credentials: there are none here.
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
