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
//! Everything is read from the log: the stream, and the request in its metadata. A response with `store: false` is not shown
//! here again, and is removed with its stream.

mod compact;
mod compaction;
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
mod state;
mod stored;
mod wait;
mod warm_up;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response as HttpResponse},
};
use serde::Serialize;
use serde_json::Value;
use tokenwire_core::{Follower, GenerationId, Seq, token_log::OnDisconnect};

use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    compact::{__path_compact, compact},
    encoder::{ResponseEncoder, ResponseEvents},
    query::{PageParameters, ReadParameters, Wanted},
    request::{Create, ResponseRequest},
    resource::ResponseResource,
    response::Response,
    socket::{__path_open, open},
    stored::{Name, accept, catch_up, kept, said, stop, stored, whole},
    wait::Wait,
};
use super::error::{ErrorEnvelope, OpenAiError};
use crate::{
    front::{
        app::App,
        caller::Caller,
        describe::refusals,
        idempotency::{self, IdempotencyKey},
        json,
        location::location,
        on_disconnect::{self, OnDisconnectHeader},
        problem::Problem,
    },
    stream::{permit::StreamPermit, response::stream_response},
};

const PATH: &str = "/v1/responses";

refusals!(CreateRefusals: ErrorEnvelope<'_>, 400 404 408 409 413 415 500 503 504);
refusals!(ReadRefusals: ErrorEnvelope<'_>, 400 404 503);
refusals!(StopRefusals: ErrorEnvelope<'_>, 404 503);

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, open))
        .routes(routes!(compact))
        .routes(routes!(retrieve, delete))
        .routes(routes!(cancel))
        .routes(routes!(input_items))
}

/// A response that was forgotten.
#[derive(Serialize, ToSchema)]
struct ResponseDeleted {
    id: String,
    #[schema(pattern = "^response$")]
    object: &'static str,
    deleted: bool,
}

/// Some items of an input.
#[derive(Serialize, ToSchema)]
struct ResponseInputItems {
    #[schema(pattern = "^list$")]
    object: &'static str,
    /// Each with its `type` and an `id`, and with texts as parts.
    #[schema(value_type = Vec<Object>)]
    data: Vec<Value>,
    /// Null where there is none.
    #[schema(required)]
    first_id: Option<Value>,
    /// Where to go on from, with `after`.
    #[schema(required)]
    last_id: Option<Value>,
    /// Whether there are more.
    has_more: bool,
}

/// Ask a model as OpenAI's responses do
///
/// The answer can be read again by its `id` for as long as streams are kept. `null` counts as absent. A parameter that is not
/// named here is refused.
#[utoipa::path(
    post,
    path = "/v1/responses",
    operation_id = "createResponse",
    tag = "Responses",
    params(IdempotencyKey, OnDisconnectHeader),
    request_body(content = ResponseRequest, example = json!({"input": "Hello world"})),
    responses(
        (
            status = 200,
            description = "The response once it has ended; in the background at once; or with `stream` its events.",
            content((ResponseResource<'_> = "application/json"), (ResponseEvents = "text/event-stream")),
            headers(("Location" = String, description = "Where the generation can be read: `/ask/{uuid}`.")),
            links(
                ("retrieveResponse" = (operation_id = "retrieveResponse", parameters(("id" = "$response.body#/id")))),
                ("cancelResponse" = (operation_id = "cancelResponse", parameters(("id" = "$response.body#/id")))),
                ("deleteResponse" = (operation_id = "deleteResponse", parameters(("id" = "$response.body#/id")))),
                ("listInputItems" = (operation_id = "listInputItems", parameters(("id" = "$response.body#/id")))),
            ),
        ),
        CreateRefusals,
    ),
)]
async fn create(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<HttpResponse, OpenAiError> {
    // Everything that can be refused is refused before the generation is accepted.
    let key = idempotency::id(PATH, request.headers())?;
    let headers = request.headers().clone();
    let mut create = Create::of(&json::body(&app.limits, request).await?, app.generations.models())?;
    references::resolve(&app, &mut create.metadata.input).await?;
    let before = match create.previous {
        Some(previous) => said(&app, previous, false).await?,
        None => Vec::new(),
    };
    let (stream, background) = (create.stream, create.metadata.background);
    let otherwise = if background { OnDisconnect::Detached } else { app.config.on_disconnect };
    let on_disconnect = on_disconnect::or(otherwise, &headers, &app.config)?;
    let wanted = create.after(before)?;
    let permit = app.limits.open_stream()?;
    let id = key.unwrap_or_else(GenerationId::fresh);
    let (mut response, accepted) = accept(&app, caller, id, wanted, on_disconnect).await?;
    if stream {
        let follower = app.generations.follow_accepted(&accepted, Seq::START).await?;
        return Ok(events(&app, response, None, follower, permit));
    }
    if background {
        // It was accepted, even if it cannot be read now.
        if let Err(problem) = catch_up(&app, &mut response).await {
            tracing::warn!(generation.id = %id, problem = problem.message, "cannot read what was just accepted");
        }
    } else {
        response = whole(&app, response, &accepted).await.map_err(|problem| problem.of_call(id, key))?;
    }
    Ok(([location(id)], shown(&response)).into_response())
}

/// Read a response, or resume its events
///
/// On any replica. A client that was cut off names the number of the last event it saw, and gets exactly the rest.
#[utoipa::path(
    get,
    path = "/v1/responses/{id}",
    operation_id = "retrieveResponse",
    tag = "Responses",
    params(("id" = String, Path, description = "`resp_` and a UUID. The id of a chat completion, or the UUID of any generation, names the same one."), ReadParameters),
    responses(
        (
            status = 200,
            description = "The response as it stands, also while it is `queued` or `in_progress`; or with `stream` its events.",
            content((ResponseResource<'_> = "application/json"), (ResponseEvents = "text/event-stream")),
            headers(
                ("Location" = String, description = "With `stream`: where the generation can be read."),
                ("Preference-Applied" = String, description = "How long it would have waited at most: `wait=` and seconds."),
            ),
        ),
        ReadRefusals,
    ),
)]
async fn retrieve(
    State(app): State<App>,
    name: Name,
    uri: Uri,
    headers: HeaderMap,
) -> Result<HttpResponse, OpenAiError> {
    let mut response = stored(&app, name).await?;
    match query::wanted(&uri)? {
        Wanted::Events { after } => {
            let permit = app.limits.open_stream()?;
            // From the start even with a cursor: the events at the end repeat the whole text.
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

/// Stop a response
///
/// Stops it, and waits up to 3 s for its end. Idempotent. A queued response may end later: it is returned as it is now.
#[utoipa::path(
    post,
    path = "/v1/responses/{id}/cancel",
    operation_id = "cancelResponse",
    tag = "Responses",
    params(("id" = String, Path, description = "`resp_` and a UUID. The id of a chat completion, or the UUID of any generation, names the same one.")),
    responses(
        (status = 200, description = "The response, ended in most cases.", body = ResponseResource<'_>),
        StopRefusals,
    ),
)]
async fn cancel(State(app): State<App>, name: Name) -> Result<Json<Value>, OpenAiError> {
    let mut response = stored(&app, name).await?;
    let _permit = app.limits.open_stream()?;
    stop(&app, &mut response).await?;
    Ok(shown(&response))
}

/// Forget a response
///
/// Removes it and its stream. A running response is stopped first: its worker would write it again.
#[utoipa::path(
    delete,
    path = "/v1/responses/{id}",
    operation_id = "deleteResponse",
    tag = "Responses",
    params(("id" = String, Path, description = "`resp_` and a UUID. The id of a chat completion, or the UUID of any generation, names the same one.")),
    responses(
        (status = 200, description = "It is forgotten.", body = ResponseDeleted),
        StopRefusals,
    ),
)]
async fn delete(State(app): State<App>, name: Name) -> Result<Json<ResponseDeleted>, OpenAiError> {
    let mut response = kept(&app, name).await?;
    let id = response.id;
    let _permit = app.limits.open_stream()?;
    stop(&app, &mut response).await?;
    app.generations.remove(id).await?;
    Ok(Json(ResponseDeleted { id: id::response(id), object: "response", deleted: true }))
}

/// List what a response was asked
///
/// What its own request said, the newest item first.
#[utoipa::path(
    get,
    path = "/v1/responses/{id}/input_items",
    operation_id = "listInputItems",
    tag = "Responses",
    params(("id" = String, Path, description = "`resp_` and a UUID. The id of a chat completion, or the UUID of any generation, names the same one."), PageParameters),
    responses(
        (status = 200, description = "Its items.", body = ResponseInputItems),
        ReadRefusals,
    ),
)]
async fn input_items(
    State(app): State<App>,
    name: Name,
    uri: Uri,
) -> Result<Json<ResponseInputItems>, OpenAiError> {
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
    let has_more = rest > page.limit;
    Ok(Json(ResponseInputItems { object: "list", data, first_id, last_id, has_more }))
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
    Json(serde_json::to_value(response.resource()).expect("our own types have string keys"))
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
