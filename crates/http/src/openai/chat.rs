//! `POST /v1/chat/completions`.
//!
//! The answer's generation is in `Location` and in the id of every chunk, so a client that was cut off can read the rest at
//! `/ask`. When the client disconnects, the grace time begins, as at `/ask`. `Tokenwire-On-Disconnect` changes that.

mod answer;
mod chunks;
mod completion;
mod messages;
mod request;

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokenwire_core::{GenerationId, Seq};

use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    answer::ChatIdentity,
    chunks::{ChatEvents, ChunkEncoder},
    completion::{ChatCompletion, Collected},
    request::{ChatCompletionRequest, ChatRequest},
};
use super::{
    error::{ErrorEnvelope, OpenAiError},
    parameters::Shown,
};
use crate::{
    front::{
        app::App,
        caller::Caller,
        describe::refusals,
        idempotency::{self, IdempotencyKey},
        json,
        location::location,
        on_disconnect::{self, OnDisconnectHeader},
        whole,
    },
    stream::response::stream_response,
};

const PATH: &str = "/v1/chat/completions";

refusals!(CreateRefusals: ErrorEnvelope<'_>, 400 404 408 409 413 415 500 503 504);

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create))
}

/// Ask a model as OpenAI's chat completions do
///
/// `null` counts as absent. No parameter is ignored that would change the answer: it is honoured, handed to the model, or
/// refused. `metadata`, `store`, `user` and others that say who asks or what is kept are accepted and change nothing. The
/// generation can be read at the address in `Location`, and as a response under its id.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    operation_id = "createChatCompletion",
    tag = "Chat Completions",
    params(IdempotencyKey, OnDisconnectHeader),
    request_body(
        content = ChatCompletionRequest,
        example = json!({"messages": [{"role": "user", "content": "Hello world"}]}),
    ),
    responses(
        (
            status = 200,
            description = "The complete answer; or with `stream` its events.",
            content((ChatCompletion = "application/json"), (ChatEvents = "text/event-stream")),
            headers(("Location" = String, description = "Where the generation can be read: `/ask/{uuid}`.")),
        ),
        CreateRefusals,
    ),
)]
async fn create(State(app): State<App>, caller: Caller, request: Request) -> Result<Response, OpenAiError> {
    // Everything that can be refused is refused before the generation is accepted.
    let key = idempotency::id(PATH, request.headers())?;
    let on_disconnect = on_disconnect::or(app.config.on_disconnect, request.headers(), &app.config)?;
    let fields = json::body(&app.limits, request).await?;
    let ChatRequest { request, shown } = ChatRequest::of(fields, app.generations.models())?;
    let permit = app.limits.open_stream()?;
    let id = key.unwrap_or_else(GenerationId::fresh);
    let model = request.model.clone();
    let accepted = app.submit(caller, id, request, on_disconnect, Bytes::new()).await?;
    // A repeated call finds the time of the first one.
    let created = accepted.spec.created_at;
    let follower = app.generations.follow_accepted(&accepted, Seq::START).await?;
    match shown {
        Shown::Streamed { usage } => {
            let identity = ChatIdentity::new(id, chunks::OBJECT, created, model);
            let encoder = ChunkEncoder::new(id, identity, usage);
            Ok(([location(id)], stream_response(app.reader(id, follower, encoder), permit)).into_response())
        }
        Shown::Whole => {
            let mut collected = Collected::default();
            let end = whole::wait(&app, follower, whole::DRAINING, |entry| collected.take(entry)).await;
            drop(permit);
            match end {
                Ok((reason, usage)) => {
                    let identity = ChatIdentity::new(id, completion::OBJECT, created, model);
                    let completion = collected.complete(id, identity, reason, usage);
                    Ok(([location(id)], Json(completion)).into_response())
                }
                Err(problem) => Err(problem.of_call(id, key).into()),
            }
        }
    }
}
