//! `/v1/responses`: answers that are stored, numbered event by event, and read again from any number on any replica.
//!
//! | Call | Answer |
//! |---|---|
//! | `POST /v1/responses` | the resource once it has ended, or at once in the background; or the events |
//! | `GET /v1/responses` with an upgrade | a WebSocket, on which responses follow one another |
//! | `GET /v1/responses/{id}` | the resource as it stands, or with `wait` once it has ended; with `stream=true` the events |
//! | `POST /v1/responses/compact` | a conversation made shorter |
//! | `POST /v1/responses/{id}/cancel` | the resource, ended in a moment |
//! | `DELETE /v1/responses/{id}` | forgotten, stream and all |
//! | `GET /v1/responses/{id}/input_items` | what was asked |
//!
//! All of it comes from the log alone: the stream, and the request in its metadata. What `store: false` asked to forget is
//! not shown here again, and goes with its stream.

mod compact;
mod compaction;
mod description;
mod encoder;
mod id;
mod items;
mod metadata;
mod options;
mod output;
mod query;
mod references;
mod request;
mod resource;
mod response;
mod socket;
mod stored;
mod wait;
mod warm_up;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response as HttpResponse},
};
use serde_json::{Value, json};
use tokenwire_core::{Follower, GenerationId, Seq, token_log::OnDisconnect};

pub(super) use self::{compact::compact, description::operations, socket::open};
use self::{
    encoder::ResponseEncoder,
    query::Wanted,
    request::Create,
    resource::Resource,
    response::Response,
    stored::{Name, accept, catch_up, kept, said, stop, stored, whole},
    wait::Wait,
};
use super::error::OpenAiError;
use crate::{
    front::{
        app::App, caller::Caller, idempotency, json, location::location, on_disconnect, problem::Problem,
    },
    paths,
    stream::{permit::StreamPermit, response::stream_response},
};

/// `POST /v1/responses`. Everything that can be refused is refused before the generation is accepted.
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<HttpResponse, OpenAiError> {
    let (head, body) = request.into_parts();
    json::check_content_type(&head.headers)?;
    let key = idempotency::id(paths::RESPONSES, &head.headers)?;
    let mut create = Create::parse(&app.limits.read(body).await?, app.generations.models())?;
    references::resolve(&app, &mut create.metadata.input).await?;
    let before = match create.previous {
        Some(previous) => said(&app, previous, false).await?,
        None => Vec::new(),
    };
    let (stream, background) = (create.stream, create.metadata.background);
    let otherwise = if background { OnDisconnect::Detached } else { app.config.on_disconnect };
    let on_disconnect = on_disconnect::or(otherwise, &head.headers, &app.config)?;
    let wanted = create.after(before)?;
    let permit = app.limits.open_stream()?;
    let id = key.unwrap_or_else(GenerationId::fresh);
    let (mut response, accepted) = accept(&app, caller, id, wanted, on_disconnect).await?;
    if stream {
        let follower = app.generations.follow_accepted(&accepted, Seq::START).await?;
        return Ok(events(&app, response, None, follower, permit));
    }
    if background {
        // It was accepted, whether or not it can be read now.
        if let Err(problem) = catch_up(&app, &mut response).await {
            tracing::warn!(generation.id = %id, problem = problem.message, "cannot read what was just accepted");
        }
    } else {
        // The same key would find the same failure.
        response = whole(&app, response, &accepted)
            .await
            .map_err(|problem| if key.is_some() { problem.of_same_generation() } else { problem })
            .map_err(|problem| problem.about_generation(id))?;
    }
    Ok(([location(id)], shown(&response)).into_response())
}

/// `GET /v1/responses/{id}`.
pub(super) async fn retrieve(
    State(app): State<App>,
    name: Name,
    uri: Uri,
    headers: HeaderMap,
) -> Result<HttpResponse, OpenAiError> {
    let mut response = stored(&app, name).await?;
    match query::wanted(&uri)? {
        Wanted::Events { after } => {
            let permit = app.limits.open_stream()?;
            // From the start also with a cursor: the events at the end repeat the whole text.
            let follower = app.generations.follow(response.id, Seq::START).await?;
            Ok(events(&app, response, after, follower, permit))
        }
        Wanted::Resource { wait } => {
            let wait = Wait::of(wait, &headers);
            wait.until_end(&app, &mut response).await?;
            Ok((wait.applied(), shown(&response)).into_response())
        }
    }
}

/// `POST /v1/responses/{id}/cancel`. Idempotent, also once the response has ended.
pub(super) async fn cancel(State(app): State<App>, name: Name) -> Result<Json<Value>, OpenAiError> {
    let mut response = stored(&app, name).await?;
    let _permit = app.limits.open_stream()?;
    stop(&app, &mut response).await?;
    Ok(shown(&response))
}

/// `DELETE /v1/responses/{id}`. One that still runs is stopped first: its worker would write it again.
pub(super) async fn delete(State(app): State<App>, name: Name) -> Result<Json<Value>, OpenAiError> {
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
) -> Result<Json<Value>, OpenAiError> {
    let Response { id, metadata, .. } = stored(&app, name).await?;
    let page = query::page(&uri)?;
    let mut items: Vec<_> =
        metadata.input.into_iter().enumerate().map(|(index, item)| named(id, index, item)).collect();
    if !page.oldest_first {
        items.reverse();
    }
    let is_at = |item: &Value, name: &str| item.get("id").and_then(Value::as_str) == Some(name);
    let begin = match &page.after {
        None => 0,
        Some(after) => {
            items.iter().position(|item| is_at(item, after)).map(|at| at + 1).ok_or_else(|| {
                Problem::invalid_field("after", format!("names no item of this response: {after}"))
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
        Some("compaction") => "cmp",
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

fn events(
    app: &App,
    response: Response,
    after: Option<u64>,
    follower: Follower,
    permit: StreamPermit,
) -> HttpResponse {
    let id = response.id;
    let encoder = ResponseEncoder::new(response, after);
    ([location(id)], stream_response(app.reader(id, follower, encoder), permit)).into_response()
}
