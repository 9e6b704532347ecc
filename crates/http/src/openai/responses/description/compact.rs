//! `POST /v1/responses/compact` and the socket as OpenAPI tells of them.
#![expect(
    dead_code,
    reason = "bodies are only shapes: requests are read field by field, for errors that name the field"
)]

use axum::{
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde_json::{Value, json};
use utoipa::{ToSchema, openapi::HttpMethod};

use super::{
    super::{super::description as openai, compact::Compaction, socket},
    TAG, body,
};
use crate::{
    front::problem::Problem,
    openai::{
        chat::{self, too_large},
        error::{ErrorEnvelope, OpenAiError},
    },
    openapi::{Answer, Described, schemas},
    paths,
    stream::websocket::HandshakeError,
};

/// Which conversation to make shorter.
#[derive(ToSchema)]
#[schema(as = CompactRequest)]
#[serde(deny_unknown_fields)]
struct Body {
    /// One of those that `GET /v1/models` lists.
    model: String,
    /// A text of the user, or items. Needed where there is no `previous_response_id`; else it follows what was said there.
    input: Option<body::Input>,
    /// The conversation up to the end of this response. It must have ended, and not failed.
    previous_response_id: Option<String>,
    /// What the summary should keep, or how it should be written.
    instructions: Option<String>,
    /// Changes nothing.
    prompt_cache_key: Option<Value>,
    /// Changes nothing.
    prompt_cache_options: Option<Value>,
    /// Changes nothing.
    prompt_cache_retention: Option<Value>,
    /// Changes nothing.
    service_tier: Option<Value>,
}

pub(super) fn compact() -> Described {
    let answer =
        Answer::new("What is left of the conversation. Send `output` as the beginning of a later `input`.")
            .json::<Compaction>()
            .header(&header::LOCATION);
    openai::about_asking(Described::new(
        HttpMethod::Post,
        paths::RESPONSES_COMPACT,
        "compactConversation",
        "Make a conversation short enough to go on with",
    ))
    .tagged(TAG)
    .about(
        "What the user and the system said is kept, and a model sums up everything else. The summary travels in the answer: \
         nothing has to be kept here for it.",
    )
    .body::<Body>(json!({"model": "simulated", "input": "Hello world"}))
    .answer(StatusCode::OK, answer)
    .refusals::<ErrorEnvelope<'static>>(
        openai::of_bodies()
            .chain(openai::of_asking("model", "is missing"))
            .chain(super::of_references())
            .chain(openai::of_answers(too_large()))
            .chain([super::super::compact::failed("the model wrote no summary").about_generation(openai::nobody())])
            .chain([Problem::draining(chat::DRAINING).about_generation(openai::nobody())])
            .map(|problem| OpenAiError::from(problem).into_response()),
    )
}

pub(super) fn open() -> Described {
    let answer = Answer::new(
        "A WebSocket. Each text that is sent is a `response.create`: the body of `POST /v1/responses` with this `type`, without \
         `stream` and `background`. Each text that comes is an event of that response; or an `error` with a `status`, for a \
         request that is refused.",
    );
    Described::new(HttpMethod::Get, paths::RESPONSES, "openSocket", "Ask for one response after another over a WebSocket")
        .tagged(TAG)
        .about("A request for a WebSocket as in RFC 6455. One response runs at a time.")
        .header(
            "Tokenwire-On-Disconnect",
            "What becomes of a response once nobody reads it: it is stopped after the grace time, or goes on to its end.",
            schemas::one_of(["cancel", "detach"]),
        )
        .answer(StatusCode::SWITCHING_PROTOCOLS, answer)
        .refusals::<ErrorEnvelope<'static>>(
            [HandshakeError::NotRequested, HandshakeError::Origin]
                .map(socket::refused)
                .into_iter()
                .chain([OpenAiError::from(Problem::too_many_streams()).into_response()]),
        )
}
