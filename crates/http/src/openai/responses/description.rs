//! `/v1/responses` as OpenAPI tells of it.

mod body;
mod compact;
mod resource;

use axum::{
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde_json::json;
use utoipa::openapi::{HttpMethod, Object};

pub(super) use self::resource::ResponseUsage;
use self::resource::{Deleted, Failed, InputItems, OfResponse, ResponseResource};
use super::{super::description as openai, id, output, references, request, stored, wait};
use crate::{
    front::problem::Problem,
    openai::{
        chat::{self, too_large},
        error::{ErrorEnvelope, OpenAiError},
    },
    openapi::examples,
    openapi::{Answer, Described, EventKind, schemas},
    paths,
};

const TAG: &str = "Responses";

pub(in crate::openai) fn operations() -> Vec<Described> {
    vec![create(), compact::open(), compact::compact(), retrieve(), cancel(), delete(), input_items()]
}

fn create() -> Described {
    let answer =
        resource("The response once it has ended; in the background at once; or with `stream` its events.")
            .events(EVENTS, events())
            .header(&header::LOCATION)
            .leads_to("retrieveResponse", "id", "$response.body#/id")
            .leads_to("cancelResponse", "id", "$response.body#/id")
            .leads_to("deleteResponse", "id", "$response.body#/id")
            .leads_to("listInputItems", "id", "$response.body#/id");
    openai::about_asking(Described::new(
        HttpMethod::Post,
        paths::RESPONSES,
        "createResponse",
        "Ask a model as OpenAI's responses do",
    ))
    .tagged(TAG)
    .about(
        "The answer is kept, and read again by its `id` for as long as streams are kept. `null` is as good as nothing; a \
         parameter that is not named here is refused.",
    )
    .body::<body::Body>(json!({"input": "Hello world"}))
    .answer(StatusCode::OK, answer)
    .refusals::<ErrorEnvelope<'static>>(
        openai::of_bodies()
            .chain(openai::of_asking("input", "is missing: write what you want to ask"))
            .chain(of_references())
            .chain(openai::of_answers(too_large()))
            .chain([Problem::draining(chat::DRAINING).about_generation(openai::nobody())])
            .map(|problem| OpenAiError::from(problem).into_response()),
    )
}

fn retrieve() -> Described {
    let answer = resource(
        "The response as it stands, also while it is `queued` or `in_progress`; or with `stream` its events.",
    )
    .events(EVENTS, events())
    .header(&header::LOCATION)
    .header(&wait::APPLIED);
    of_one(HttpMethod::Get, paths::RESPONSE, "retrieveResponse", "Read a response, or resume its events")
        .about(
            "At any replica. A reader that was cut names the number of the last event it saw, and gets exactly the rest.",
        )
        .query(
            "wait",
            "How many seconds to wait for the end, where there is none yet. Not with `stream`.",
            schemas::or_empty(schemas::whole_number(0, wait::LONGEST)),
        )
        .header(
            "Prefer",
            "`wait=20`: the same as a wish (RFC 7240), shortened where it is too long. What was done of it is in \
             `Preference-Applied`.",
            schemas::text(),
        )
        .query("stream", "Whether to answer with events.", flag())
        .query(
            "starting_after",
            "With `stream`: only the events after this number.",
            schemas::or_empty(schemas::whole_number(0, u64::MAX)),
        )
        .query("include_obfuscation", "Not done here: `false`.", schemas::one_of(["false", "False", "0", ""]))
        .answer(StatusCode::OK, answer)
        .refusals::<ErrorEnvelope<'static>>(
            [Problem::invalid_field("starting_after", "must be the number of an event"), Problem::too_many_streams()]
                .into_iter()
                .chain(of_reading())
                .map(|problem| OpenAiError::from(problem).into_response()),
        )
}

fn cancel() -> Described {
    of_one(HttpMethod::Post, paths::RESPONSE_CANCEL, "cancelResponse", "Stop a response")
        .about(
            "Stops it, and waits up to 3 s for its end. Idempotent. One that no worker has begun may end later, and is shown as \
             it is.",
        )
        .answer(StatusCode::OK, resource("The response, ended in most cases."))
        .refusals::<ErrorEnvelope<'static>>(of_stopping().map(|problem| OpenAiError::from(problem).into_response()))
}

fn delete() -> Described {
    of_one(HttpMethod::Delete, paths::RESPONSE, "deleteResponse", "Forget a response")
        .about("Forgets it, stream and all. One that runs is stopped first.")
        .answer(StatusCode::OK, Answer::new("It is forgotten.").json::<Deleted>())
        .refusals::<ErrorEnvelope<'static>>(
            of_stopping().map(|problem| OpenAiError::from(problem).into_response()),
        )
}

fn input_items() -> Described {
    of_one(HttpMethod::Get, paths::RESPONSE_INPUT_ITEMS, "listInputItems", "List what a response was asked")
        .about("What its own request said, the newest item first.")
        .query("limit", "How many at once; 20 by default.", schemas::or_empty(schemas::whole_number(1, 100)))
        .query("order", "`asc`: the oldest item first.", schemas::one_of(["asc", "desc", ""]))
        .query("after", "The `id` of the item after which to go on.", schemas::text())
        .answer(StatusCode::OK, Answer::new("Its items.").json::<InputItems>())
        .refusals::<ErrorEnvelope<'static>>(
            [Problem::invalid_field("limit", "must be a number from 1 to 100")]
                .into_iter()
                .chain(of_reading())
                .map(|problem| OpenAiError::from(problem).into_response()),
        )
}

fn of_one(method: HttpMethod, path: &'static str, name: &str, summary: &str) -> Described {
    let about = "`resp_` and a UUID. The id of a chat completion, or the UUID of any generation, is as good: it is the same one.";
    Described::new(method, path, name, summary).tagged(TAG).part("id", about, schemas::text())
}

fn resource(about: &str) -> Answer {
    Answer::new(about).json::<ResponseResource>()
}

/// What a request goes on from may be gone.
fn of_references() -> impl Iterator<Item = Problem> {
    let response = request::not_found(&id::response(openai::nobody()));
    [response, references::not_found(0, &id::output("msg", openai::nobody(), 0))].into_iter()
}

fn of_reading() -> impl Iterator<Item = Problem> {
    [stored::missing(&id::response(openai::nobody())), examples::unavailable()].into_iter()
}

fn of_stopping() -> impl Iterator<Item = Problem> {
    of_reading().chain([Problem::too_many_streams()])
}

fn flag() -> Object {
    schemas::one_of(["true", "false", "True", "False", "1", "0", ""])
}

const EVENTS: &str = "Every event has its number, from 0 without a gap, and is the same for ever and at every replica. The name \
                      of an event is its `type`. `[DONE]` is last; a body that ends without it was cut: resume after the \
                      last number. Comments (`:`) fill silence.";

/// What the encoder writes, for those who read it.
fn events() -> Vec<EventKind> {
    let mut events = vec![
        EventKind::numbered::<OfResponse>("response.created", "It is stored."),
        EventKind::numbered::<OfResponse>("response.queued", "In the background: it waits for a worker."),
        EventKind::numbered::<OfResponse>("response.in_progress", "A worker has begun."),
    ];
    events.extend(output::events());
    events.extend([
        EventKind::numbered::<OfResponse>("response.completed", "The whole answer is there."),
        EventKind::numbered::<OfResponse>(
            "response.incomplete",
            "It ended early, and `incomplete_details` says why; or it was stopped, and its status is `cancelled`.",
        ),
        EventKind::numbered::<Failed>("error", "It failed, or cannot be told here. `response.failed` follows."),
        EventKind::numbered::<OfResponse>("response.failed", "It will not become whole."),
        EventKind::literal("[DONE]", "The end."),
    ]);
    events
}

#[cfg(test)]
mod tests;
