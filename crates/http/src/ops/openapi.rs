//! `GET /openapi.json`: every operation of this server in OpenAPI 3.1, for programs that make clients, tests or pages of it.
//!
//! Front ends describe their operations beside their handlers, and `routes.rs` collects them. What is here completes the
//! document and serves it. The files of the page are left out: they are an interface of the page alone.

use std::collections::BTreeMap;

use axum::{
    Extension,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa::openapi::{
    InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, ServerBuilder,
    tag::{Tag, TagBuilder},
};
use utoipa::openapi::{ObjectBuilder, schema::Type, security::SecurityRequirement};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::front::{
    app::App,
    describe::{header, parameters},
    etag,
};

/// What holds for all operations.
const ABOUT: &str = "\
An answer of a language model is a *generation*: it is requested once, stored delta by delta in a durable log, and read by any \
number of readers, who resume exactly where they stopped. `/ask` is Tokenwire's own API; `/v1` is compatible with OpenAI's, so \
that its clients work unmodified.

No key is asked for, and any is taken. `Accept` is not looked at.

A path that is not here is answered with 404, another method with 405 and `Allow`. Heads of requests that are too large (431) or \
too slow (408) are refused without a body, and so is what is not HTTP (400).

The schema of a body that is a stream of events is that of each event, read as an object with `event`, `data`, `id` and `retry`.";

/// What the tags mean. A front end may use one that is not here.
const TAGS: [(&str, &str); 5] = [
    ("Ask", "Tokenwire's own API: ask, read and resume, stop."),
    ("Chat Completions", "OpenAI's chat completions."),
    ("Responses", "OpenAI's responses: kept, numbered event by event, and resumed after any of them."),
    ("Models", "What can be asked."),
    ("Server", "How the server is, and what it can do."),
];

/// The document as it is served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document(pub(crate) fn() -> &'static str);

pub(crate) fn routes(document: Document) -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(serve)).layer(Extension(document))
}

/// Adds to what the front ends describe what holds for all of them.
pub(crate) fn complete(mut described: OpenApi) -> String {
    // OpenAPI knows no parts of a path that span slashes.
    let paths = std::mem::take(&mut described.paths.paths);
    described.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    let license = LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build();
    let info = InfoBuilder::new()
        .title("Tokenwire")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license));
    let operations = described.paths.paths.values().flat_map(|path| [&path.get, &path.post, &path.delete]);
    let mut tags = BTreeMap::new();
    for operation in operations.flatten() {
        for name in operation.tags.iter().flatten() {
            tags.entry(name.as_str()).or_insert_with(|| tag(name, operation.summary.as_deref()));
        }
    }
    let tags: Vec<_> = tags.into_values().collect();
    let document = OpenApiBuilder::from(described)
        .info(info.build())
        .servers(Some([ServerBuilder::new().url("/").description(Some("This server.")).build()]))
        .tags(Some(tags))
        // No key is asked for.
        .security(Some(Vec::<SecurityRequirement>::new()))
        .build();
    serde_json::to_string_pretty(&document).expect("descriptions have text keys")
}

parameters!(
    /// The header, described.
    IfNoneMatch,
    header(
        "If-None-Match",
        "The `ETag` of the document that the client has; unchanged, it is not sent again.",
        ObjectBuilder::new().schema_type(Type::String),
    ),
);

/// A tag that [`TAGS`] does not know means what the summary of its first operation says.
fn tag(name: &str, summary: Option<&str>) -> Tag {
    let about = TAGS.iter().find(|(known, _)| *known == name).map(|(_, about)| *about);
    TagBuilder::new().name(name).description(about.or(summary)).build()
}

/// This document
///
/// Every operation of this server in OpenAPI 3.1. It changes with the version of the server alone.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getOpenApi",
    tag = "Server",
    params(IfNoneMatch),
    responses(
        (
            status = 200,
            description = "The document.",
            content_type = "application/json",
            body = Object,
            headers(
                ("ETag" = String, description = "What to send as `If-None-Match` the next time."),
                ("Cache-Control" = String, description = "Whether the answer may be kept."),
            ),
        ),
        (status = 304, description = "The client has it already."),
    ),
)]
async fn serve(Extension(Document(document)): Extension<Document>, headers: HeaderMap) -> Response {
    let document = document();
    let etag = etag::of(document.as_bytes());
    let unchanged = etag::is_known(&etag, &headers);
    let shared = [(header::ETAG, etag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if unchanged {
        return (StatusCode::NOT_MODIFIED, shared).into_response();
    }
    (shared, [(header::CONTENT_TYPE, "application/json")], document).into_response()
}
