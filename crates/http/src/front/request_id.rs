//! `x-request-id`: an id for each call, in its response and its log lines. SDKs show it.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::Instrument;
use uuid::Uuid;

const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the call a new id. An id from the client is ignored: two calls may have the same.
pub(crate) async fn attach(request: Request, next: Next) -> Response {
    let id = format!("req_{}", Uuid::now_v7().simple());
    let span = tracing::info_span!("request", request.id = %id);
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(NAME, HeaderValue::try_from(id).expect("hexadecimal is plain ASCII"));
    response
}
