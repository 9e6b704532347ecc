//! `POST /v1/chat/completions`.
//!
//! The answer's generation is in `Location` and in the id of every piece, so a client that was cut reads on at `/ask`. A
//! client that goes away leaves its generation to the grace time, as at `/ask`; `Tokenwire-On-Disconnect` says otherwise.

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

use self::{answer::Identity, chunks::ChunkEncoder, completion::Collected, request::Shown};
pub(super) use self::{
    chunks::events,
    completion::{Completion, too_large},
    request::ChatRequest,
};
use super::error::OpenAiError;
use crate::{
    front::{app::App, caller::Caller, idempotency, json, location::location, on_disconnect, whole},
    paths,
    stream::response::stream_response,
};

pub(super) const DRAINING: &str =
    "this server is going away: ask again, or read the answer at the address in Location";

/// Everything that can be refused is refused before the generation is accepted.
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, OpenAiError> {
    let (head, body) = request.into_parts();
    json::check_content_type(&head.headers)?;
    let key = idempotency::id(paths::CHAT_COMPLETIONS, &head.headers)?;
    let on_disconnect = on_disconnect::or(app.config.on_disconnect, &head.headers, &app.config)?;
    let body = app.limits.read(body).await?;
    let ChatRequest { request, shown } = ChatRequest::parse(&body, app.generations.models())?;
    drop(body);
    let permit = app.limits.open_stream()?;
    let id = key.unwrap_or_else(GenerationId::fresh);
    let model = request.model.clone();
    let accepted = app.submit(caller, id, request, on_disconnect, Bytes::new()).await?;
    // A repeated call finds the time of the first one.
    let created = accepted.spec.created_at;
    let follower = app.generations.follow_accepted(&accepted, Seq::START).await?;
    match shown {
        Shown::Streamed { usage } => {
            let identity = Identity::new(id, chunks::OBJECT, created, model);
            let encoder = ChunkEncoder::new(id, identity, usage);
            Ok(([location(id)], stream_response(app.reader(id, follower, encoder), permit)).into_response())
        }
        Shown::Whole => {
            let mut collected = Collected::default();
            let end = whole::wait(&app, follower, DRAINING, |entry| collected.take(entry)).await;
            drop(permit);
            match end {
                Ok((reason, usage)) => {
                    let identity = Identity::new(id, completion::OBJECT, created, model);
                    let completion = collected.complete(id, identity, reason, usage);
                    Ok(([location(id)], Json(completion)).into_response())
                }
                // The same key would find the same failure.
                Err(problem) if key.is_some() => {
                    Err(problem.of_same_generation().about_generation(id).into())
                }
                Err(problem) => Err(problem.about_generation(id).into()),
            }
        }
    }
}
