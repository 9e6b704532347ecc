//! Descriptions, put together to one document.

use std::collections::BTreeMap;

use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Paths, tag::TagBuilder,
};

use super::Described;

/// What holds for all operations.
const ABOUT: &str = "\
An answer of a language model is a *generation*: it is asked for once, kept piece by piece in a durable log, and read by any \
number of readers, who resume exactly where they stood. `/ask` is Tokenwire's own way to do that; `/v1` speaks as OpenAI does, so \
that clients made for it work unmodified.

No key is asked for, and any is taken. `Accept` is not looked at.

A path that is not here is answered with 404, another method with 405 and `Allow`. Both are told in the envelope of their \
neighbours. Heads of requests that are too large (431) or too slow (408) are refused without a body, and so is what is no HTTP (400).

The schema of a body that is a stream of events is that of each event, read as an object with `event`, `data`, `id` and `retry`.";

const TAGS: [(&str, &str); 5] = [
    ("Ask", "Tokenwire's own: ask, read and resume, stop."),
    ("Chat Completions", "OpenAI's chat completions."),
    ("Responses", "OpenAI's responses: kept, numbered event by event, and resumed after any of them."),
    ("Models", "What can be asked."),
    ("Server", "How the server is, and what it can do."),
];

pub(super) fn document(operations: Vec<Described>) -> OpenApi {
    let mut paths = Paths::new();
    let mut schemas = BTreeMap::new();
    for described in operations {
        let (path, method) = (template(described.path), described.method.clone());
        let (operation, more) = described.into_parts();
        paths.add_path_operation(path, vec![method], operation);
        schemas.extend(more.into_named());
    }
    let info = InfoBuilder::new()
        .title("Tokenwire")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build()));
    let tags = TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build());
    OpenApiBuilder::new()
        .info(info.build())
        .tags(Some(tags))
        .paths(paths)
        .components(Some(ComponentsBuilder::new().schemas_from_iter(schemas).build()))
        .build()
}

/// A path as OpenAPI writes it: it knows no parts that span slashes.
pub(super) fn template(path: &str) -> String {
    path.replace("{*", "{")
}
