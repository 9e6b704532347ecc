//! What operators ask, on a listener of its own that the public does not reach: `GET /metrics`, and `GET /health` for roles
//! that have no other.

use std::sync::Arc;

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, error::Error, health, paths, server};

/// The media type of Prometheus's text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves the operators' paths on a socket that the caller owns, as [`crate::serve`] does the public's. `render` gives the
/// metrics in Prometheus's text format.
pub async fn serve_operators(
    listener: TcpListener,
    render: impl Fn() -> String + Send + Sync + 'static,
    soft: CancellationToken,
    hard: CancellationToken,
) {
    let render = Arc::new(render);
    let metrics = move || {
        let text = render();
        async move { ([(CONTENT_TYPE, TEXT_FORMAT)], text) }
    };
    let router = Router::new()
        .route(paths::METRICS, get(metrics))
        .route(paths::HEALTH, get(health::health))
        .fallback(async || Error::NoSuchPath)
        .method_not_allowed_fallback(async || Error::WrongMethod);
    server::accept_until_stopped(listener, router, Config::default(), soft, hard).await;
}
