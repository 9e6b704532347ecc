//! `/ask`: the product's own front end.
//!
//! | Call | Answer |
//! |---|---|
//! | `POST /ask` `{"query" or "messages", "uuid"?, "model"?, options?}` | the stream, and its address in `Location`; the same `uuid` with the same body attaches to it, with another body it is a conflict |
//! | `GET /ask/{uuid}` | the stream from the cursor in `Last-Event-ID`, or in `?last_event_id=` |
//! | `DELETE /ask/{uuid}` | 202; the stream ends with `cancelled` |
//!
//! A path whose id is no UUID names nothing, and is 404 like an unknown one. `Accept` is not looked at: there is one
//! answer. Unknown fields of a request are ignored.

mod cursor;
mod description;
mod encoder;
mod request;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokenwire_core::{Follower, GenerationId, Seq, generations::Submitted};

pub(crate) use self::description::operations;
use self::{encoder::AskEncoder, request::Ask};
use crate::{
    front::{app::App, caller::Caller, json, location::location, problem::Problem, refusal::Refusal},
    stream::{permit::StreamPermit, response::stream_response},
};

/// `POST /ask`. Everything that can be refused is refused before the generation is accepted.
pub(crate) async fn submit(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    json::check_content_type(&head.headers)?;
    let cursor = cursor::from_header(&head.headers)?.unwrap_or(Seq::START);
    let Ask { id, request } = Ask::parse(&app.limits.read(body).await?, app.generations.models())?;
    let permit = app.limits.open_stream()?;
    let id = id.unwrap_or_else(GenerationId::fresh);
    let accepted = app.submit(caller, id, request, app.config.on_disconnect, Bytes::new()).await?;
    let after = match accepted.how {
        // A cursor from an earlier life of this id: what it counted is gone, and the stream is read from its start.
        Submitted::New => Seq::START,
        Submitted::Existing => cursor,
    };
    let follower = app.generations.follow_accepted(&accepted, after).await?;
    Ok(stream(&app, id, follower, permit))
}

/// `GET /ask/{uuid}`.
pub(crate) async fn follow(
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

/// `DELETE /ask/{uuid}`. Idempotent, also once the generation has ended.
pub(crate) async fn cancel(
    State(app): State<App>,
    id: Result<Path<GenerationId>, PathRejection>,
) -> Result<StatusCode, Refusal> {
    app.generations.cancel(parsed(id)?).await?;
    Ok(StatusCode::ACCEPTED)
}

/// The rest of a stream. 204 when there is none: the one answer that makes an EventSource stop for good.
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
