//! `POST /v1/completions`: OpenAI's text completions, the API before chat completions.
//!
//! The prompt is one message of the user. As with chat completions, the generation is in `Location` and in the id of every
//! chunk, and a client that was cut off can read the rest at `/ask`.

mod encoder;
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
    encoder::{CollectedText, CompletionEncoder, CompletionEvents, CompletionIdentity, TextCompletion},
    request::{CompletionRequest, Prompt},
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

const PATH: &str = "/v1/completions";

refusals!(CreateRefusals: ErrorEnvelope<'_>, 400 404 408 409 413 415 500 503 504);

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create))
}

/// Ask a model as OpenAI's text completions do
///
/// For clients that were made before chat completions. The prompt is one message of the user. `null` counts as absent. No
/// parameter is ignored that would change the answer: it is honoured, handed to the model, or refused. `user` changes nothing.
#[utoipa::path(
    post,
    path = "/v1/completions",
    operation_id = "createCompletion",
    tag = "Completions",
    params(IdempotencyKey, OnDisconnectHeader),
    request_body(content = CompletionRequest, example = json!({"prompt": "Hello world"})),
    responses(
        (
            status = 200,
            description = "The complete answer; or with `stream` its events.",
            content((TextCompletion = "application/json"), (CompletionEvents = "text/event-stream")),
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
    let Prompt { request, shown } = Prompt::of(fields, app.generations.models())?;
    let permit = app.limits.open_stream()?;
    let id = key.unwrap_or_else(GenerationId::fresh);
    let model = request.model.clone();
    let accepted = app.submit(caller, id, request, on_disconnect, Bytes::new()).await?;
    // A repeated call finds the time of the first one.
    let identity = CompletionIdentity::new(id, accepted.spec.created_at, model);
    let follower = app.generations.follow_accepted(&accepted, Seq::START).await?;
    match shown {
        Shown::Streamed { usage } => {
            let encoder = CompletionEncoder::new(identity, usage);
            Ok(([location(id)], stream_response(app.reader(id, follower, encoder), permit)).into_response())
        }
        Shown::Whole => {
            let mut collected = CollectedText::default();
            let end = whole::wait(&app, follower, whole::DRAINING, |entry| collected.take(entry)).await;
            drop(permit);
            match end {
                Ok((reason, usage)) => {
                    let completion = collected.complete(identity, reason, usage);
                    Ok(([location(id)], Json(completion)).into_response())
                }
                Err(problem) => Err(problem.of_call(id, key).into()),
            }
        }
    }
}
