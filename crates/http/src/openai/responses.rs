//! `/v1/responses`: answers that are stored, numbered event by event, and read again from any number on any replica.
//!
//! | Call | Answer |
//! |---|---|
//! | `POST /v1/responses` | the resource once it has ended, or at once in the background; or the events |
//! | `GET /v1/responses/{id}` | the resource as it stands; with `stream=true` the events, those after `starting_after` |
//! | `POST /v1/responses/{id}/cancel` | the resource, ended in a moment |
//! | `DELETE /v1/responses/{id}` | forgotten, stream and all |
//! | `GET /v1/responses/{id}/input_items` | what was asked |
//!
//! All of it comes from the log alone: the stream, and the request in its memo. What `store: false` asked to forget is
//! not shown here again, and goes with its stream.

mod description;
mod encoder;
mod id;
mod items;
mod memo;
mod options;
mod output;
mod query;
mod references;
mod request;
mod resource;
mod response;

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response as HttpResponse},
};
use serde_json::{Value, json};
use tokenwire_core::{
    GenerationId, Message, Seq,
    follow::FollowError,
    generations::{AccessError, Submission},
    token_log::OnDisconnect,
};
use tokio::time::timeout;

pub(super) use self::description::operations;
use self::{
    encoder::ResponseEncoder,
    query::Wanted,
    request::Create,
    resource::Resource,
    response::{End, Response, State as Standing},
};
use super::{disconnect, error::ApiError, failure, idempotency};
use crate::{app::App, error::Error, json, limits::StreamPermit, paths, sse, sse::Reading};

/// How long a call that stops a response waits for its end: several times as long as a worker takes to hear of it.
const SETTLE: Duration = Duration::from_secs(3);

type Name = Result<Path<String>, PathRejection>;

/// `POST /v1/responses`. Everything that can be refused is refused before the generation is accepted.
pub(super) async fn create(State(app): State<App>, request: Request) -> Result<HttpResponse, ApiError> {
    let (head, body) = request.into_parts();
    json::check_content_type(&head.headers)?;
    let key = idempotency::id(paths::RESPONSES, &head.headers)?;
    let mut create = Create::parse(&app.limits.read(body).await?, app.generations.models())?;
    references::resolve(&app, &mut create.memo.input).await?;
    let before = match create.previous {
        Some(previous) => said(&app, previous).await?,
        None => Vec::new(),
    };
    let (stream, background) = (create.stream, create.memo.background);
    let otherwise = if background { OnDisconnect::Detached } else { app.config.on_disconnect };
    let on_disconnect = disconnect::or(otherwise, &head.headers, &app.config)?;
    let (request, memo) = create.after(before)?;
    let memo = memo.to_bytes()?;
    let permit = app.limits.open_stream()?;
    let id = key.unwrap_or_else(GenerationId::fresh);
    app.generations.submit(Submission { id, request, on_disconnect, memo }).await?;
    // A repeated call finds the memo and the time of the first one. Not to find what was just accepted is the log's trouble.
    let spec = app.generations.spec(id).await.map_err(|error| Error::Unavailable(error.into()))?;
    let mut response = Response::new(id, &spec)?;
    if stream {
        return events(&app, response, None, permit).await;
    }
    if background {
        catch_up(&app, &mut response).await?;
    } else {
        let ended = tokio::select! {
            biased;
            () = app.drain.cancelled() => Err(draining()),
            ended = follow(&app, &mut response) => ended,
        };
        let told = ended.and_then(|()| whole(response));
        // The same key would find the same failure.
        response = told.map_err(|error| if key.is_some() { error.same_again() } else { error }.about(id))?;
    }
    Ok(([paths::location(id)], shown(&response)).into_response())
}

/// `GET /v1/responses/{id}`.
pub(super) async fn retrieve(State(app): State<App>, name: Name, uri: Uri) -> Result<HttpResponse, ApiError> {
    let mut response = stored(&app, name).await?;
    match query::wanted(&uri)? {
        Wanted::Events { after } => {
            let permit = app.limits.open_stream()?;
            events(&app, response, after, permit).await
        }
        Wanted::Resource => {
            catch_up(&app, &mut response).await?;
            Ok(shown(&response).into_response())
        }
    }
}

/// `POST /v1/responses/{id}/cancel`. Idempotent, also once the response has ended.
pub(super) async fn cancel(State(app): State<App>, name: Name) -> Result<Json<Value>, ApiError> {
    let mut response = stored(&app, name).await?;
    let _permit = app.limits.open_stream()?;
    stop(&app, &mut response).await?;
    Ok(shown(&response))
}

/// `DELETE /v1/responses/{id}`. One that still runs is stopped first: its worker would write it again.
pub(super) async fn delete(State(app): State<App>, name: Name) -> Result<Json<Value>, ApiError> {
    let mut response = kept(&app, name).await?;
    let id = response.id;
    let _permit = app.limits.open_stream()?;
    stop(&app, &mut response).await?;
    app.generations.remove(id).await?;
    Ok(Json(json!({"id": id::response(id), "object": "response", "deleted": true})))
}

/// `GET /v1/responses/{id}/input_items`: this request's own, the newest first unless asked otherwise.
pub(super) async fn input_items(
    State(app): State<App>,
    name: Name,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let Response { id, memo, .. } = stored(&app, name).await?;
    let page = query::page(&uri)?;
    let mut items: Vec<_> =
        memo.input.into_iter().enumerate().map(|(index, item)| named(id, index, item)).collect();
    if !page.oldest_first {
        items.reverse();
    }
    let is_at = |item: &Value, name: &str| item.get("id").and_then(Value::as_str) == Some(name);
    let begin = match &page.after {
        None => 0,
        Some(after) => {
            items.iter().position(|item| is_at(item, after)).map(|at| at + 1).ok_or_else(|| {
                ApiError::invalid(
                    "after".to_owned(),
                    format!("after names no item of this response: {after}"),
                )
            })?
        }
    };
    let rest = items.len() - begin;
    let data: Vec<_> = items.into_iter().skip(begin).take(page.limit).collect();
    let name = |item: Option<&Value>| item.and_then(|item| item.get("id")).cloned();
    let (first_id, last_id) = (name(data.first()), name(data.last()));
    Ok(Json(json!({
        "object": "list", "data": data, "first_id": first_id, "last_id": last_id, "has_more": rest > page.limit,
    })))
}

fn named(id: GenerationId, index: usize, mut item: Value) -> Value {
    let prefix = match item.get("type").and_then(Value::as_str) {
        Some("message") => "msg",
        Some("function_call") => "fc",
        Some("function_call_output") => "fco",
        _ => "rs",
    };
    if let Some(item) = item.as_object_mut() {
        item.insert("id".to_owned(), id::input(prefix, id, index).into());
    }
    item
}

fn shown(response: &Response) -> Json<Value> {
    Json(serde_json::to_value(Resource(response)).expect("our own types have string keys"))
}

/// The response of this name, before any of its stream was read.
async fn stored(app: &App, name: Name) -> Result<Response, ApiError> {
    let response = kept(app, name).await?;
    if response.memo.store { Ok(response) } else { Err(missing(&id::response(response.id))) }
}

async fn kept(app: &App, name: Name) -> Result<Response, ApiError> {
    let Ok(Path(name)) = name else { return Err(missing("of this name")) };
    let id = id::parse(&name).ok_or_else(|| missing(&name))?;
    match app.generations.spec(id).await {
        Ok(spec) => Ok(Response::new(id, &spec)?),
        Err(AccessError::NotFound(_)) => Err(missing(&name)),
        Err(error) => Err(error.into()),
    }
}

fn missing(name: &str) -> ApiError {
    let message = format!("there is no response {name}: it never was, or is not kept any more");
    ApiError::invalid(None, message).with_status(StatusCode::NOT_FOUND).coded("not_found")
}

/// The conversation up to the end of an earlier response.
async fn said(app: &App, previous: GenerationId) -> Result<Vec<Message>, ApiError> {
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
    if !response.memo.store {
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

async fn events(
    app: &App,
    response: Response,
    after: Option<u64>,
    permit: StreamPermit,
) -> Result<HttpResponse, ApiError> {
    let id = response.id;
    // From the start, whatever was seen: what is done repeats the whole text.
    let follower = app.generations.follow(id, Seq::START).await?;
    let encoder = ResponseEncoder::new(response, after);
    let reading = Reading::new(id, follower, encoder, app.config.heartbeat, app.drain.clone());
    Ok(([paths::location(id)], sse::headers(), reading.into_body(permit)).into_response())
}

/// Reads what is there now.
async fn catch_up(app: &App, response: &mut Response) -> Result<(), ApiError> {
    let mut cursor = Seq::START;
    loop {
        let page = app.generations.look(response.id, cursor).await?;
        for entry in &page.entries {
            response.take(entry, &mut ());
            cursor = entry.seq;
        }
        if page.entries.is_empty() || cursor >= page.tail {
            return Ok(());
        }
    }
}

/// Reads to the end, from the start.
async fn follow(app: &App, response: &mut Response) -> Result<(), ApiError> {
    let mut follower = app.generations.follow(response.id, Seq::START).await?;
    while !response.has_ended() {
        let entries = match follower.next().await {
            Ok(Some(entries)) => entries,
            // A stream ends with a terminal entry (I1).
            Ok(None) | Err(FollowError::Lost(_)) => return Err(failure::lost_stream()),
            Err(error) => return Err(error.into()),
        };
        for entry in &entries {
            response.take(entry, &mut ());
        }
    }
    Ok(())
}

/// Stops a response, and waits a moment for its end. One that no worker has begun may take longer, and is shown as it is.
async fn stop(app: &App, response: &mut Response) -> Result<(), ApiError> {
    app.generations.cancel(response.id).await?;
    timeout(SETTLE, follow(app, response)).await.unwrap_or(Ok(()))
}

/// A failure is an answer of its own to whoever waited for the response.
fn whole(mut response: Response) -> Result<Response, ApiError> {
    match response.state {
        Standing::Ended { end: End::Failed(error), .. } => Err(error),
        state => {
            response.state = state;
            Ok(response)
        }
    }
}

fn draining() -> ApiError {
    let message = "this server is going away: ask again, or read the response at its id";
    ApiError::server(StatusCode::SERVICE_UNAVAILABLE, "draining", message)
}
