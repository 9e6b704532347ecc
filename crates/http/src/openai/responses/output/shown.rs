//! What events and the resource show of the output, as types.

use serde::Serialize;
use utoipa::ToSchema;

use crate::front::describe::{constant, nothing};

/// How far an item has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ResponseItemStatus)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Status {
    InProgress,
    Completed,
    Incomplete,
}

/// An item, as the events and the resource show it.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseOutputItem)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(in super::super) enum Shown<'a> {
    /// Text of the answer.
    Message {
        id: &'a str,
        status: Status,
        #[schema(pattern = "^assistant$")]
        role: &'static str,
        content: Vec<Part<'a>>,
    },
    /// What the model thought before it answered, where it tells.
    Reasoning {
        id: &'a str,
        status: Status,
        /// The same, where the request asked for a summary.
        summary: Vec<Part<'a>>,
        /// All that it told, unless the request asked for a summary.
        content: Vec<Part<'a>>,
    },
    /// A call that the model wants made.
    FunctionCall { id: &'a str, status: Status, call_id: &'a str, name: &'a str, arguments: &'a str },
}

/// A part of an item.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseOutputPart)]
#[serde(tag = "type")]
pub(in super::super) enum Part<'a> {
    #[serde(rename = "output_text")]
    Answer {
        text: &'a str,
        #[schema(schema_with = nothing)]
        annotations: [(); 0],
        #[schema(schema_with = nothing)]
        logprobs: [(); 0],
    },
    #[serde(rename = "reasoning_text")]
    Reasoning { text: &'a str },
    #[serde(rename = "summary_text")]
    Summary { text: &'a str },
}

/// Where in the output.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[schema(as = ResponsePlace)]
pub(super) struct At<'a> {
    pub(super) item_id: &'a str,
    pub(super) output_index: usize,
    /// Which part of its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) content_index: Option<usize>,
    /// Which part of its summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) summary_index: Option<usize>,
}

/// What an event about an item says.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseItemEvent)]
pub(super) struct OfItem<'a> {
    pub(super) output_index: usize,
    pub(super) item: Shown<'a>,
}

/// What an event about a part of an item says.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponsePartEvent)]
pub(super) struct OfPart<'a> {
    #[serde(flatten)]
    pub(super) at: At<'a>,
    pub(super) part: Part<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = incomplete, required = false)]
    pub(super) status: Option<Status>,
}

/// What an event about a new piece says.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseDeltaEvent)]
pub(super) struct Delta<'a> {
    #[serde(flatten)]
    pub(super) at: At<'a>,
    pub(super) delta: &'a str,
    /// For text of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = nothing, required = false)]
    pub(super) logprobs: Option<[(); 0]>,
}

/// What an event says that ends a text.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseTextDoneEvent)]
pub(super) struct TextDone<'a> {
    #[serde(flatten)]
    pub(super) at: At<'a>,
    pub(super) text: &'a str,
    /// For text of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = nothing, required = false)]
    pub(super) logprobs: Option<[(); 0]>,
}

/// What an event says that ends the arguments of a call.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseCallDoneEvent)]
pub(super) struct CallDone<'a> {
    #[serde(flatten)]
    pub(super) at: At<'a>,
    pub(super) name: &'a str,
    pub(super) arguments: &'a str,
}

/// Said of a summary only if it was cut short.
fn incomplete() -> utoipa::openapi::Object {
    constant("incomplete")
}
