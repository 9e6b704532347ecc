//! `/ask`: the product's own front end.
//!
//! | Call | Answer |
//! |---|---|
//! | `POST /ask` `{"query" or "messages", "uuid"?, "model"?, options?}` | the stream, and its address in `Location`; the same `uuid` with the same body attaches to it, with another body it is a conflict |
//! | `GET /ask/{uuid}` | the stream from the cursor in `Last-Event-ID`, or in `?last_event_id=` |
//! | `DELETE /ask/{uuid}` | 202; the stream ends with `cancelled` |
//!
//! A path whose id is not a UUID is 404, like an unknown id. `Accept` is ignored: there is only one format. Unknown fields of a
//! request are ignored.

mod cursor;
mod encoder;
mod request;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokenwire_core::{Follower, GenerationId, Seq, generations::Submitted};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    cursor::{CursorHeader, CursorParameters},
    encoder::{AskEncoder, AskEvents},
    request::{Ask, AskRequest},
};
use crate::{
    front::{
        app::App,
        caller::Caller,
        describe::refusals,
        json,
        location::location,
        problem::Problem,
        refusal::{Refusal, RefusalBody},
    },
    stream::{permit::StreamPermit, response::stream_response},
};

refusals!(SubmitRefusals: RefusalBody<'_>, 400 408 409 413 415 422 503);
refusals!(FollowRefusals: RefusalBody<'_>, 400 404 503);
refusals!(CancelRefusals: RefusalBody<'_>, 404 503);

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(submit)).routes(routes!(follow, cancel))
}

/// Ask a model
///
/// Stores the question, and answers with a stream of the model's answer. A `uuid` from the client makes the call safe to
/// repeat: the same id with the same body attaches to the running or finished answer. When the connection closes, the answer
/// goes on for a grace time, so that the client can reconnect. Unknown fields are ignored.
#[utoipa::path(
    post,
    path = "/ask",
    operation_id = "ask",
    tag = "Ask",
    params(CursorHeader),
    request_body(content = AskRequest, example = json!({"query": "Hello world", "uuid": "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"})),
    responses(
        (
            status = 200,
            description = "The answer as it comes. By the time it begins, the question is stored durably.",
            content_type = "text/event-stream",
            body = AskEvents,
            headers(("Location" = String, description = "Where the generation can be read: `/ask/{uuid}`.")),
            links(
                ("followGeneration" = (operation_id = "followGeneration", parameters(("uuid" = "$request.body#/uuid")))),
                ("cancelGeneration" = (operation_id = "cancelGeneration", parameters(("uuid" = "$request.body#/uuid")))),
            ),
        ),
        (
            status = 204,
            description = "The stream has ended, and the reader has seen all of it. An `EventSource` stops here.",
            headers(("Location" = String, description = "Where the generation can be read: `/ask/{uuid}`.")),
        ),
        SubmitRefusals,
    ),
)]
async fn submit(State(app): State<App>, caller: Caller, request: Request) -> Result<Response, Refusal> {
    // Everything that can be refused is refused before the generation is accepted.
    let cursor = cursor::from_header(request.headers())?.unwrap_or(Seq::START);
    let fields = json::body(&app.limits, request).await?;
    let Ask { id, request } = Ask::of(&fields, app.generations.models())?;
    drop(fields);
    let permit = app.limits.open_stream()?;
    let id = id.unwrap_or_else(GenerationId::fresh);
    let accepted = app.submit(caller, id, request, app.config.on_disconnect, Bytes::new()).await?;
    let after = match accepted.how {
        // The cursor is of an earlier stream with this id, which was removed. The new stream is read from its start.
        Submitted::New => Seq::START,
        Submitted::Existing => cursor,
    };
    let follower = app.generations.follow_accepted(&accepted, after).await?;
    Ok(stream(&app, id, follower, permit))
}

/// Read an answer, or the rest of it
///
/// The stream from its start, or after the last entry that the reader saw. Works on any replica, for as long as streams are
/// kept. An `EventSource` resumes here on its own.
#[utoipa::path(
    get,
    path = "/ask/{uuid}",
    operation_id = "followGeneration",
    tag = "Ask",
    params(
        ("uuid" = String, Path, format = "uuid", description = "The id of the generation."),
        CursorHeader,
        CursorParameters,
    ),
    responses(
        (
            status = 200,
            description = "What the reader has not seen yet, and then what comes.",
            content_type = "text/event-stream",
            body = AskEvents,
            headers(("Location" = String, description = "Where the generation can be read: `/ask/{uuid}`.")),
        ),
        (
            status = 204,
            description = "The stream has ended, and the reader has seen all of it. An `EventSource` stops here.",
            headers(("Location" = String, description = "Where the generation can be read: `/ask/{uuid}`.")),
        ),
        FollowRefusals,
    ),
)]
async fn follow(
    State(app): State<App>,
    id: Result<Path<GenerationId>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    let id = parsed(id)?;
    let after = match cursor::from_header(&headers)? {
        Some(after) => after,
        None => cursor::from_query(&uri)?.unwrap_or(Seq::START),
    };
    let permit = app.limits.open_stream()?;
    let follower = app.generations.follow(id, after).await?;
    Ok(stream(&app, id, follower, permit))
}

/// Stop an answer
///
/// Stops a running or queued generation. Its stream ends with `cancelled`. Idempotent, even after the end.
#[utoipa::path(
    delete,
    path = "/ask/{uuid}",
    operation_id = "cancelGeneration",
    tag = "Ask",
    params(("uuid" = String, Path, format = "uuid", description = "The id of the generation.")),
    responses((status = 202, description = "The generation is asked to stop."), CancelRefusals),
)]
async fn cancel(
    State(app): State<App>,
    id: Result<Path<GenerationId>, PathRejection>,
) -> Result<StatusCode, Refusal> {
    app.generations.cancel(parsed(id)?).await?;
    Ok(StatusCode::ACCEPTED)
}

/// The rest of a stream. 204 when there is none: only this makes an EventSource stop reconnecting.
fn stream(app: &App, id: GenerationId, follower: Follower, permit: StreamPermit) -> Response {
    let location = location(id);
    if follower.has_ended() {
        return (StatusCode::NO_CONTENT, [location]).into_response();
    }
    let encoder = AskEncoder::new(id, app.config.reconnect_after);
    ([location], stream_response(app.reader(id, follower, encoder), permit)).into_response()
}

fn parsed(id: Result<Path<GenerationId>, PathRejection>) -> Result<GenerationId, Problem> {
    let Path(id) = id.map_err(|_| {
        Problem::generation_not_found("there is no such generation: its id is not a UUID".to_owned())
    })?;
    Ok(id)
}
