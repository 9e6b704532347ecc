//! `GET /openapi.json`: every operation of this server in OpenAPI 3.1, for programs that make clients, tests or pages of it.
//!
//! Each front end describes its own operations, beside what it really does: schemas of answers are derived from the types
//! that are serialized, and refusals are taken from the very answers that errors become. Requests are read field by field,
//! for errors that name the field, so types of their own describe them; tests hold those against the parsers' tables, and
//! the paths against the routes. What is here puts descriptions together and knows no operation but its own.
//!
//! The files of the page are left out: they are nobody's interface but the page's, and change with it.

mod answer;
mod assembly;
mod events;
pub(crate) mod examples;
mod operation;
mod reference;
pub(crate) mod schemas;
pub(crate) mod shapes;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa::openapi::{HttpMethod, OpenApi};

#[cfg(test)]
pub(crate) use self::tests::properties;
pub(crate) use self::{answer::Answer, events::EventKind, operation::Described};
use crate::{ask, front::etag, openai, ops::health, paths};

/// As it is served. Made once, when it is first asked for.
static DOCUMENT: LazyLock<(String, HeaderValue)> = LazyLock::new(|| {
    let document = serde_json::to_string_pretty(&described()).expect("descriptions have text keys");
    let etag = etag::of(document.as_bytes());
    (document, etag)
});

/// The document, as `GET /openapi.json` answers it.
pub fn document() -> &'static str {
    &DOCUMENT.0
}

/// The same for people, in Markdown: `docs/api.md`.
pub fn reference() -> String {
    let document = serde_json::to_value(described()).expect("descriptions have text keys");
    reference::of(&document)
}

/// `GET /openapi.json`.
pub(crate) async fn serve(headers: HeaderMap) -> Response {
    let (document, etag) = &*DOCUMENT;
    let shared =
        [(header::ETAG, etag.clone()), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if etag::is_known(etag, &headers) {
        return (StatusCode::NOT_MODIFIED, shared).into_response();
    }
    (shared, [(header::CONTENT_TYPE, "application/json")], document.as_str()).into_response()
}

fn described() -> OpenApi {
    assembly::document(operations())
}

fn operations() -> Vec<Described> {
    // Refusals are asked for what they would answer. Nothing is refused, so nothing is logged.
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), || {
        let mut operations = ask::operations();
        operations.extend(openai::operations());
        operations.extend(health::operations());
        operations.push(itself());
        operations
    })
}

fn itself() -> Described {
    let document =
        Answer::new("The document.").json_object().header(&header::ETAG).header(&header::CACHE_CONTROL);
    Described::new(HttpMethod::Get, paths::OPENAPI, "getOpenApi", "This document")
        .tagged("Server")
        .about(
            "Every operation of this server in OpenAPI 3.1. It changes with the version of the server alone.",
        )
        .header(
            "If-None-Match",
            "The `ETag` of the document that the client has; unchanged, it is not sent again.",
            schemas::text(),
        )
        .answer(StatusCode::OK, document)
        .answer(StatusCode::NOT_MODIFIED, Answer::new("The client has it already.").header(&header::ETAG))
}
