//! Responses in the log: accepted, found again by their names, and read to where they stand or to their end.

use std::time::Duration;

use axum::extract::{Path, rejection::PathRejection};
use tokenwire_core::{
    GenerateRequest, GenerationId, Message, Seq,
    generations::{Accepted, AccessError},
    token_log::OnDisconnect,
};
use tokio::time::timeout;

use super::{
    id,
    metadata::ResponseMetadata,
    request,
    response::Response,
    state::{End, State},
};
use crate::front::{app::App, caller::Caller, problem::Problem, whole};

/// How long a call that stops a response waits for its end: several times as long as a worker takes to hear of it.
const SETTLE: Duration = Duration::from_secs(3);

/// What a client is told that waits while the server drains.
const DRAINING: &str = "this server is going away: ask again, or read the response at its id";

/// What stands for the id in an address.
pub(super) type Name = Result<Path<String>, PathRejection>;

/// Accepts a request. A repeated one finds the metadata and the time of the first.
pub(super) async fn accept(
    app: &App,
    caller: Caller,
    id: GenerationId,
    (request, metadata): (GenerateRequest, ResponseMetadata),
    on_disconnect: OnDisconnect,
) -> Result<(Response, Accepted), Problem> {
    let metadata = metadata.to_bytes()?;
    let accepted = app.submit(caller, id, request, on_disconnect, metadata).await?;
    Ok((Response::new(id, &accepted.spec)?, accepted))
}

/// The response of this name, before any of its stream was read.
pub(super) async fn stored(app: &App, name: Name) -> Result<Response, Problem> {
    let response = kept(app, name).await?;
    if response.metadata.store { Ok(response) } else { Err(missing(&id::response(response.id))) }
}

/// The same, shown or not.
pub(super) async fn kept(app: &App, name: Name) -> Result<Response, Problem> {
    let Ok(Path(name)) = name else { return Err(missing("of this name")) };
    let id = id::parse(&name).ok_or_else(|| missing(&name))?;
    match app.generations.spec(id).await {
        Ok(spec) => Ok(Response::new(id, &spec)?),
        Err(AccessError::NotFound(_)) => Err(missing(&name)),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn missing(name: &str) -> Problem {
    let message = format!("there is no response {name}: it never was, or is not kept any more");
    Problem::generation_not_found(message)
}

/// The conversation up to the end of an earlier response. One that is not stored can be gone on from by `its_own` socket
/// alone.
pub(super) async fn said(app: &App, previous: GenerationId, its_own: bool) -> Result<Vec<Message>, Problem> {
    let name = id::response(previous);
    let invalid = |what: &str| Problem::invalid_field("previous_response_id", what);
    let spec = match app.generations.spec(previous).await {
        Ok(spec) => spec,
        Err(AccessError::NotFound(_)) => return Err(request::not_found(&name)),
        Err(error) => return Err(error.into()),
    };
    let mut response = Response::new(previous, &spec)?;
    if !response.metadata.store && !its_own {
        return Err(request::not_found(&name));
    }
    if response.metadata.model.is_none() {
        return Err(invalid(
            "names an answer that was asked for elsewhere: its conversation is not known here",
        ));
    }
    catch_up(app, &mut response).await?;
    let ended = response.has_ended();
    response.said().ok_or_else(|| {
        invalid(if ended {
            "names a response that failed"
        } else {
            "names a response that has not ended: wait for it"
        })
    })
}

/// Reads what is there now, from the start. Returns how far that is.
pub(super) async fn catch_up(app: &App, response: &mut Response) -> Result<Seq, Problem> {
    let mut cursor = Seq::START;
    loop {
        let page = app.generations.look(response.id, cursor).await?;
        for entry in &page.entries {
            response.take(entry, &mut ());
            cursor = entry.seq;
        }
        if page.entries.is_empty() || cursor >= page.last_seq {
            return Ok(cursor);
        }
    }
}

/// Reads to the end. May be dropped: what was read by then is in the response.
pub(super) async fn follow(app: &App, response: &mut Response, after: Seq) -> Result<(), Problem> {
    let follower = app.generations.follow(response.id, after).await?;
    whole::read(follower, |entry| Ok(response.take_to_end(entry))).await
}

/// Waits for the end of a response that was just asked for. A failure is an answer of its own to whoever waited, and so is
/// a server that goes away; the generation does not end with either.
pub(super) async fn whole(
    app: &App,
    mut response: Response,
    accepted: &Accepted,
) -> Result<Response, Problem> {
    let follower = app.generations.follow_accepted(accepted, Seq::START).await?;
    whole::wait(app, follower, DRAINING, |entry| Ok(response.take_to_end(entry))).await?;
    match response.state {
        State::Ended { end: End::Failed(problem), .. } => Err(problem),
        state => {
            response.state = state;
            Ok(response)
        }
    }
}

/// Stops a response, and waits a moment for its end. One that no worker has begun may take longer, and is shown as it is.
pub(super) async fn stop(app: &App, response: &mut Response) -> Result<(), Problem> {
    app.generations.cancel(response.id).await?;
    timeout(SETTLE, follow(app, response, Seq::START)).await.unwrap_or(Ok(()))
}
