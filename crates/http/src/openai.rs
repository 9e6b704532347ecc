//! OpenAI's paths, for clients that were made for them.
//!
//! One more way to show the same generations: a request becomes a submission like any other, and an answer is a fold over
//! the entries of its stream (I8). What is OpenAI's own ends here: its names, its envelope of errors, its `[DONE]`.
//! No key is asked for and any is taken; `Accept` is not looked at, because the SDKs send one that does not fit.
//!
//! | Call | Answer |
//! |---|---|
//! | `POST /v1/chat/completions` | a chat completion, whole or as a stream of chunks |
//! | `/v1/responses` and what is below it | the same answers, stored and numbered event by event |
//! | `GET /v1/models`, `GET /v1/models/{id}` | what can be asked |

mod call_id;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod error;
pub(crate) mod models;
mod parameters;
pub(crate) mod responses;
mod usage;

use axum::{middleware::from_fn, routing::any};
use utoipa::openapi::{HeaderBuilder, RefOr};
use utoipa_axum::router::OpenApiRouter;

use self::error::OpenAiError;
use crate::front::{app::App, describe::text_like, problem::Problem, request_id};

/// Everything else that OpenAI's clients may look for, and do not find.
const OTHER_PATHS: [&str; 3] = ["/v1", "/v1/", "/v1/{*rest}"];

/// What all front ends below `/v1` share: an id for each call, and OpenAI's envelope for paths and methods that are not there.
pub(crate) fn with_dialect(routes: OpenApiRouter<App>) -> OpenApiRouter<App> {
    let routes = OTHER_PATHS.into_iter().fold(routes, |routes, path| {
        routes.route(path, any(async || OpenAiError::from(Problem::path_not_found())))
    });
    let (inner, mut document) = routes.split_for_parts();
    let operations = document.paths.paths.values_mut().flat_map(|path| {
        [&mut path.get, &mut path.post, &mut path.delete].into_iter().filter_map(Option::as_mut)
    });
    for response in operations.flat_map(|operation| operation.responses.responses.values_mut()) {
        if let RefOr::T(response) = response {
            let about = "The id of this call, under which the server logs it.";
            let id =
                HeaderBuilder::new().description(Some(about)).schema(Some(text_like("^req_[0-9a-f]{32}$")));
            response.headers.insert("x-request-id".to_owned(), id.build().into());
        }
    }
    let inner = inner
        .method_not_allowed_fallback(async || OpenAiError::from(Problem::method_not_allowed()))
        .layer(from_fn(request_id::attach));
    OpenApiRouter::with_openapi(document).merge(inner.into())
}
