//! Responses in the log: accepted, found again by their names, and read to where they stand or to their end.

use std::time::Duration;

use axum::{
    extract::{Path, rejection::PathRejection},
    http::StatusCode,
};
use tokenwire_core::{
    Caller, Follower, GenerateRequest, GenerationId, Message, Seq,
    follow::FollowError,
    generations::{Accepted, AccessError, Submission},
    token_log::OnDisconnect,
};
use tokio::time::timeout;

use super::{
    super::{error::ApiError, failure},
    id,
    memo::Memo,
    request,
    response::{End, Response, State},
};
use crate::app::App;

/// How long a call that stops a response waits for its end: several times as long as a worker takes to hear of it.
const SETTLE: Duration = Duration::from_secs(3);

/// What stands for the id in an address.
pub(super) type Name = Result<Path<String>, PathRejection>;

/// Accepts a request. A repeated one finds the memo and the time of the first.
pub(super) async fn accept(
    app: &App,
    id: GenerationId,
    (request, memo): (GenerateRequest, Memo),
    on_disconnect: OnDisconnect,
) -> Result<(Response, Accepted), ApiError> {
    let memo = memo.to_bytes()?;
    let accepted = app
        .generations
        .submit(Submission { id, caller: Caller::Anonymous, request, on_disconnect, memo })
        .await?;
    Ok((Response::new(id, &accepted.spec)?, accepted))
}

/// The response of this name, before any of its stream was read.
pub(super) async fn stored(app: &App, name: Name) -> Result<Response, ApiError> {
    let response = kept(app, name).await?;
    if response.memo.store { Ok(response) } else { Err(missing(&id::response(response.id))) }
}

/// The same, shown or not.
pub(super) async fn kept(app: &App, name: Name) -> Result<Response, ApiError> {
    let Ok(Path(name)) = name else { return Err(missing("of this name")) };
    let id = id::parse(&name).ok_or_else(|| missing(&name))?;
    match app.generations.spec(id).await {
        Ok(spec) => Ok(Response::new(id, &spec)?),
        Err(AccessError::NotFound(_)) => Err(missing(&name)),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn missing(name: &str) -> ApiError {
    let message = format!("there is no response {name}: it never was, or is not kept any more");
    ApiError::invalid(None, message).with_status(StatusCode::NOT_FOUND).coded("not_found")
}

/// The conversation up to the end of an earlier response. One that is not stored can be gone on from by `its_own` socket
/// alone.
pub(super) async fn said(app: &App, previous: GenerationId, its_own: bool) -> Result<Vec<Message>, ApiError> {
    let name = id::response(previous);
    let wrong = |what: &str| {
        ApiError::invalid("previous_response_id".to_owned(), format!("previous_response_id {what}"))
    };
    let spec = match app.generations.spec(previous).await {
        Ok(spec) => spec,
        Err(AccessError::NotFound(_)) => return Err(request::not_found(&name)),
        Err(error) => return Err(error.into()),
    };
    let mut response = Response::new(previous, &spec)?;
    if !response.memo.store && !its_own {
        return Err(request::not_found(&name));
    }
    if response.memo.model.is_none() {
        return Err(wrong(
            "names an answer that was asked for elsewhere: its conversation is not known here",
        ));
    }
    catch_up(app, &mut response).await?;
    let ended = response.has_ended();
    response.said().ok_or_else(|| {
        wrong(if ended {
            "names a response that failed"
        } else {
            "names a response that has not ended: wait for it"
        })
    })
}

/// Reads what is there now, from the start. Returns how far that is.
pub(super) async fn catch_up(app: &App, response: &mut Response) -> Result<Seq, ApiError> {
    let mut cursor = Seq::START;
    loop {
        let page = app.generations.look(response.id, cursor).await?;
        for entry in &page.entries {
            response.take(entry, &mut ());
            cursor = entry.seq;
        }
        if page.entries.is_empty() || cursor >= page.tail {
            return Ok(cursor);
        }
    }
}

/// Reads to the end. May be dropped: what was read by then is in the response.
pub(super) async fn follow(app: &App, response: &mut Response, after: Seq) -> Result<(), ApiError> {
    let follower = app.generations.follow(response.id, after).await?;
    read(follower, response).await
}

/// The same, with a follower that was opened.
async fn read(mut follower: Follower, response: &mut Response) -> Result<(), ApiError> {
    while !response.has_ended() {
        let entries = match follower.next().await {
            Ok(Some(entries)) => entries,
            // A stream ends with a terminal entry (I1).
            Ok(None) | Err(FollowError::Lost(_)) => return Err(failure::lost_stream()),
            Err(error) => return Err(error.into()),
        };
        for entry in &*entries {
            response.take(entry, &mut ());
        }
    }
    Ok(())
}

/// Waits for the end of a response that was just asked for. A failure is an answer of its own to whoever waited, and so is
/// a server that goes away; the generation does not end with either.
pub(super) async fn whole(
    app: &App,
    mut response: Response,
    accepted: &Accepted,
) -> Result<Response, ApiError> {
    let follower = app.generations.follow_accepted(accepted, Seq::START).await?;
    tokio::select! {
        biased;
        () = app.drain.cancelled() => return Err(draining()),
        ended = read(follower, &mut response) => ended?,
    }
    match response.state {
        State::Ended { end: End::Failed(error), .. } => Err(error),
        state => {
            response.state = state;
            Ok(response)
        }
    }
}

/// Stops a response, and waits a moment for its end. One that no worker has begun may take longer, and is shown as it is.
pub(super) async fn stop(app: &App, response: &mut Response) -> Result<(), ApiError> {
    app.generations.cancel(response.id).await?;
    timeout(SETTLE, follow(app, response, Seq::START)).await.unwrap_or(Ok(()))
}

fn draining() -> ApiError {
    let message = "this server is going away: ask again, or read the response at its id";
    ApiError::server(StatusCode::SERVICE_UNAVAILABLE, "draining", message)
}
