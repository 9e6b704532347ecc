//! Responses in the log: accepts them, finds them by name, and reads them up to now or to their end.

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

/// How long a call that stops a response waits for its end. Workers usually notice within a fraction of this.
const SETTLE: Duration = Duration::from_secs(3);

/// The message for a client that waits while the server drains.
const DRAINING: &str = "this server is going away: ask again, or read the response at its id";

/// The id in a path.
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

/// The response of this name, before its stream is read.
pub(super) async fn stored(app: &App, name: Name) -> Result<Response, Problem> {
    let response = kept(app, name).await?;
    if response.metadata.store { Ok(response) } else { Err(missing(&id::response(response.id))) }
}

/// The same, even with `store: false`.
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

/// The conversation up to the end of an earlier response. A response that is not stored can be continued only by `its_own`
/// socket.
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

/// Reads the entries so far, from the start. Returns the number of the last.
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

/// Waits for the end of a new response. A failure of the response, and a drain, are errors for the waiting client. A drain
/// does not end the generation.
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

/// Stops a response, and waits up to [`SETTLE`] for its end. A queued response may take longer, and is shown as it is now.
pub(super) async fn stop(app: &App, response: &mut Response) -> Result<(), Problem> {
    app.generations.cancel(response.id).await?;
    timeout(SETTLE, follow(app, response, Seq::START)).await.unwrap_or(Ok(()))
}
