//! `GET /metrics`, on a listener that the public does not reach.

use std::sync::Arc;

use axum::{Router, http::header::CONTENT_TYPE, routing::get};

/// The media type of Prometheus's text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `render` gives the metrics in Prometheus's text format.
pub(crate) fn routes(render: impl Fn() -> String + Send + Sync + 'static) -> Router {
    let render = Arc::new(render);
    let metrics = move || {
        let text = render();
        async move { ([(CONTENT_TYPE, TEXT_FORMAT)], text) }
    };
    Router::new().route("/metrics", get(metrics))
}
