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
mod chat;
mod description;
mod error;
mod models;
mod parameters;
mod responses;

use axum::{
    Router,
    middleware::from_fn,
    routing::{any, get, post},
};

pub(crate) use self::description::operations;
use self::error::OpenAiError;
use crate::{
    front::{app::App, problem::Problem, request_id},
    paths,
};

/// The routes, with their own answer to everything below `/v1` that is not there.
pub(crate) fn routes() -> Router<App> {
    let nothing = paths::OPENAI.into_iter().fold(Router::new(), |routes, path| {
        routes.route(path, any(async || OpenAiError::from(Problem::path_not_found())))
    });
    nothing
        .route(paths::CHAT_COMPLETIONS, post(chat::create))
        .route(paths::RESPONSES, post(responses::create).get(responses::open))
        .route(paths::RESPONSES_COMPACT, post(responses::compact))
        .route(paths::RESPONSE, get(responses::retrieve).delete(responses::delete))
        .route(paths::RESPONSE_CANCEL, post(responses::cancel))
        .route(paths::RESPONSE_INPUT_ITEMS, get(responses::input_items))
        .route(paths::MODELS, get(models::list))
        .route(paths::MODEL, get(models::retrieve))
        .method_not_allowed_fallback(async || OpenAiError::from(Problem::method_not_allowed()))
        .layer(from_fn(request_id::attach))
}
