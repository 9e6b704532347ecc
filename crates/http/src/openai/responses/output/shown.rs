//! What events and the resource show of the output, as types.

use serde::Serialize;
use utoipa::ToSchema;

use crate::front::describe::{constant, nothing};

/// How far an item has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum ResponseItemStatus {
    InProgress,
    Completed,
    Incomplete,
}

/// An item, as the events and the resource show it.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(in super::super) enum ResponseOutputItem<'a> {
    /// Text of the answer.
    Message {
        id: &'a str,
        status: ResponseItemStatus,
        #[schema(pattern = "^assistant$")]
        role: &'static str,
        content: Vec<ResponseOutputPart<'a>>,
    },
    /// The model's reasoning, if it shows any.
    Reasoning {
        id: &'a str,
        status: ResponseItemStatus,
        /// All of it, if the request asked for a summary.
        summary: Vec<ResponseOutputPart<'a>>,
        /// All of it, unless the request asked for a summary.
        content: Vec<ResponseOutputPart<'a>>,
    },
    /// A function call by the model.
    FunctionCall {
        id: &'a str,
        status: ResponseItemStatus,
        call_id: &'a str,
        name: &'a str,
        arguments: &'a str,
    },
}

/// A part of an item.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in super::super) enum ResponseOutputPart<'a> {
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
pub(super) struct ResponsePlace<'a> {
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
pub(super) struct ResponseItemEvent<'a> {
    pub(super) output_index: usize,
    pub(super) item: ResponseOutputItem<'a>,
}

/// What an event about a part of an item says.
#[derive(Serialize, ToSchema)]
pub(super) struct ResponsePartEvent<'a> {
    #[serde(flatten)]
    pub(super) at: ResponsePlace<'a>,
    pub(super) part: ResponseOutputPart<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = incomplete, required = false)]
    pub(super) status: Option<ResponseItemStatus>,
}

/// What an event about a new delta says.
#[derive(Serialize, ToSchema)]
pub(super) struct ResponseDeltaEvent<'a> {
    #[serde(flatten)]
    pub(super) at: ResponsePlace<'a>,
    pub(super) delta: &'a str,
    /// For text of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = nothing, required = false)]
    pub(super) logprobs: Option<[(); 0]>,
}

/// What an event says that ends a text.
#[derive(Serialize, ToSchema)]
pub(super) struct ResponseTextDoneEvent<'a> {
    #[serde(flatten)]
    pub(super) at: ResponsePlace<'a>,
    pub(super) text: &'a str,
    /// For text of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = nothing, required = false)]
    pub(super) logprobs: Option<[(); 0]>,
}

/// What an event says that ends the arguments of a call.
#[derive(Serialize, ToSchema)]
pub(super) struct ResponseCallDoneEvent<'a> {
    #[serde(flatten)]
    pub(super) at: ResponsePlace<'a>,
    pub(super) name: &'a str,
    pub(super) arguments: &'a str,
}

/// The status of a summary, present only if it was cut short.
fn incomplete() -> utoipa::openapi::Object {
    constant("incomplete")
}
