//! `POST /v1/chat/completions`.
//!
//! The answer's generation is in `Location` and in the id of every piece, so a client that was cut reads on at `/ask`. A
//! client that goes away leaves its generation to the grace time, as at `/ask`; `Tokenwire-On-Disconnect` says otherwise.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokenwire_core::{Caller, Follower, GenerationId, Seq, follow::FollowError, generations::Submission};

use super::{
    answer::Identity,
    chunks::{self, ChunkEncoder},
    completion::{self, Collected, Progress},
    disconnect,
    error::ApiError,
    failure, idempotency,
    request::{ChatRequest, Shown},
};
use crate::{app::App, json, limits::StreamPermit, paths, reading::Reading, sse};

/// Everything that can be refused is refused before the generation is accepted.
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    json::check_content_type(&head.headers)?;
    let key = idempotency::id(paths::CHAT_COMPLETIONS, &head.headers)?;
    let on_disconnect = disconnect::or(app.config.on_disconnect, &head.headers, &app.config)?;
    let body = app.limits.read(body).await?;
    let ChatRequest { request, shown } = ChatRequest::parse(&body, app.generations.models())?;
    drop(body);
    let permit = app.limits.open_stream()?;
    let id = key.unwrap_or_else(GenerationId::fresh);
    let model = request.model.clone();
    let submission = Submission { id, caller: Caller::Anonymous, request, on_disconnect, memo: Bytes::new() };
    let accepted = app.generations.submit(submission).await?;
    // A repeated call finds the time of the first one.
    let created = accepted.spec.created_at;
    let follower = app.generations.follow_accepted(&accepted, Seq::START).await?;
    match shown {
        Shown::Streamed { usage } => {
            let identity = Identity::new(id, chunks::OBJECT, created, model);
            let encoder = ChunkEncoder::new(id, identity, usage);
            let reading = Reading::new(id, follower, encoder, app.config.heartbeat, app.drain.clone());
            Ok(([paths::location(id)], sse::answer(reading, permit)).into_response())
        }
        Shown::Whole => {
            let identity = Identity::new(id, completion::OBJECT, created, model);
            let answer = tokio::select! {
                biased;
                () = app.drain.cancelled() => Err(draining()),
                answer = collect(id, identity, follower, permit) => answer,
            };
            // The same key would find the same failure.
            answer.map_err(|error| if key.is_some() { error.same_again() } else { error }.about(id))
        }
    }
}

/// Waits for the whole answer. Dropped when the client leaves: then nobody reads any more.
async fn collect(
    id: GenerationId,
    identity: Identity,
    mut follower: Follower,
    _permit: StreamPermit,
) -> Result<Response, ApiError> {
    let mut collected = Collected::default();
    while let Some(entries) = follower.next().await.map_err(unreadable)? {
        for entry in entries.iter().cloned() {
            match collected.take(entry)? {
                Progress::Partial => {}
                Progress::Whole { reason, usage } => {
                    let completion = collected.complete(id, identity, reason, usage);
                    return Ok(([paths::location(id)], Json(completion)).into_response());
                }
                Progress::Failed(failure) => return Err(failure::told(&failure)),
            }
        }
    }
    // A stream ends with a terminal entry (I1).
    Err(failure::lost_stream())
}

fn unreadable(error: FollowError) -> ApiError {
    match error {
        FollowError::Lost(_) => failure::lost_stream(),
        error => error.into(),
    }
}

/// No byte was sent, so it can be said: another replica will answer.
pub(super) fn draining() -> ApiError {
    let message = "this server is going away: ask again, or read the answer at the address in Location";
    ApiError::server(StatusCode::SERVICE_UNAVAILABLE, "draining", message)
}
