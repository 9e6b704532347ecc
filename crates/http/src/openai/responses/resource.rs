//! The resource: 31 properties, all always present.
//!
//! A parameter that the request left out has the format's default, even if the model's default is another: the format requires
//! numbers.

use serde::Serialize;
use serde_json::{Value, json};
use tokenwire_core::{FinishReason, GenerationId, Timestamp, Usage};
use utoipa::ToSchema;

use super::{
    id,
    metadata::ResponseMetadata,
    output::{Output, ResponseOutputItem},
    state::{End, State},
};
use crate::{front::describe::constant, openai::error::ErrorObject};

/// A response. Parameters that the request left out have the format's defaults, even if the model's defaults are others.
#[derive(Serialize, ToSchema)]
#[schema(as = Response)]
pub(super) struct ResponseResource<'a> {
    /// `resp_` and the id under which any front end can read the generation.
    id: String,
    #[schema(schema_with = response_object)]
    object: &'static str,
    /// When it was accepted, in seconds.
    created_at: u64,
    /// When it ended, in seconds, if the answer is complete.
    #[schema(required)]
    completed_at: Option<u64>,
    status: ResponseStatus,
    background: bool,
    store: bool,
    /// `unknown` for a generation of another front end.
    model: &'a str,
    #[schema(required)]
    previous_response_id: Option<&'a str>,
    #[schema(required)]
    instructions: Option<&'a str>,
    output: Vec<ResponseOutputItem<'a>>,
    #[schema(required)]
    error: Option<ResponseError<'a>>,
    #[schema(required)]
    incomplete_details: Option<ResponseIncompleteDetails>,
    #[schema(required)]
    usage: Option<ResponseUsage>,
    #[schema(value_type = Vec<BTreeMap<String, Value>>)]
    tools: Value,
    tool_choice: Value,
    #[schema(value_type = bool)]
    parallel_tool_calls: Value,
    #[schema(value_type = BTreeMap<String, Value>)]
    text: Value,
    #[schema(value_type = Option<BTreeMap<String, Value>>, required)]
    reasoning: Value,
    #[schema(value_type = f64)]
    temperature: Value,
    #[schema(value_type = f64)]
    top_p: Value,
    #[schema(value_type = f64)]
    presence_penalty: Value,
    #[schema(value_type = f64)]
    frequency_penalty: Value,
    #[schema(value_type = Option<u64>, required)]
    max_output_tokens: Value,
    #[schema(value_type = Option<u64>, required)]
    max_tool_calls: Value,
    #[schema(value_type = u64)]
    top_logprobs: Value,
    #[schema(schema_with = disabled)]
    truncation: Value,
    #[schema(value_type = String)]
    service_tier: Value,
    #[schema(value_type = BTreeMap<String, String>)]
    metadata: Value,
    #[schema(value_type = Option<String>, required)]
    safety_identifier: Value,
    #[schema(value_type = Option<String>, required)]
    prompt_cache_key: Value,
}

fn response_object() -> utoipa::openapi::Object {
    constant("response")
}

fn disabled() -> utoipa::openapi::Object {
    constant("disabled")
}

/// The state of a response. Only one in the background is `queued` first.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ResponseStatus {
    Queued,
    InProgress,
    Completed,
    Incomplete,
    Cancelled,
    Failed,
}

/// Why a response failed.
#[derive(Serialize, ToSchema)]
pub(super) struct ResponseError<'a> {
    /// For programs: it never changes.
    code: &'a str,
    /// For people.
    message: &'a str,
}

/// Why a response ended early.
#[derive(Serialize, ToSchema)]
pub(super) struct ResponseIncompleteDetails {
    reason: ResponseIncompleteReason,
}

/// The token limit was reached, or the model's service withheld the rest.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ResponseIncompleteReason {
    MaxOutputTokens,
    ContentFilter,
}

/// What a response cost, in the model's own tokens.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct ResponseUsage {
    input_tokens: u64,
    input_tokens_details: ResponseCachedTokens,
    output_tokens: u64,
    output_tokens_details: ResponseReasoningTokens,
    total_tokens: u64,
}

/// Not counted apart.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct ResponseCachedTokens {
    cached_tokens: u64,
}

/// Not counted apart.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct ResponseReasoningTokens {
    reasoning_tokens: u64,
}

impl<'a> ResponseResource<'a> {
    pub(super) fn of(
        id: GenerationId,
        created_at: Timestamp,
        metadata: &'a ResponseMetadata,
        output: &'a Output,
        state: &'a State,
    ) -> Self {
        let echo = |name: &str, default: Value| metadata.echo.get(name).cloned().unwrap_or(default);
        Self {
            id: id::response(id),
            object: "response",
            created_at: created_at.as_millis() / 1000,
            completed_at: completed_at(state),
            status: status(state, metadata.background),
            background: metadata.background,
            store: metadata.store,
            model: metadata.model.as_ref().map_or("unknown", |model| model.as_str()),
            previous_response_id: metadata.previous_response_id.as_deref(),
            instructions: metadata.instructions.as_deref(),
            output: output.shown(),
            error: error(state),
            incomplete_details: incomplete(state),
            usage: usage(state),
            tools: echo("tools", json!([])),
            tool_choice: echo("tool_choice", json!("auto")),
            parallel_tool_calls: echo("parallel_tool_calls", json!(true)),
            text: echo("text", json!({"format": {"type": "text"}})),
            reasoning: echo("reasoning", Value::Null),
            temperature: echo("temperature", json!(1.0)),
            top_p: echo("top_p", json!(1.0)),
            presence_penalty: echo("presence_penalty", json!(0.0)),
            frequency_penalty: echo("frequency_penalty", json!(0.0)),
            max_output_tokens: echo("max_output_tokens", Value::Null),
            max_tool_calls: echo("max_tool_calls", Value::Null),
            top_logprobs: echo("top_logprobs", json!(0)),
            truncation: echo("truncation", json!("disabled")),
            service_tier: echo("service_tier", json!("default")),
            metadata: echo("metadata", json!({})),
            safety_identifier: echo("safety_identifier", Value::Null),
            prompt_cache_key: echo("prompt_cache_key", Value::Null),
        }
    }
}

const fn status(state: &State, background: bool) -> ResponseStatus {
    match state {
        State::Waiting if background => ResponseStatus::Queued,
        State::Waiting | State::Running => ResponseStatus::InProgress,
        State::Ended { end: End::Finished { reason, .. }, .. } => match reason {
            FinishReason::Stop | FinishReason::ToolCalls => ResponseStatus::Completed,
            FinishReason::Length | FinishReason::ContentFilter => ResponseStatus::Incomplete,
        },
        State::Ended { end: End::Cancelled, .. } => ResponseStatus::Cancelled,
        State::Ended { end: End::Failed(_), .. } => ResponseStatus::Failed,
    }
}

fn completed_at(state: &State) -> Option<u64> {
    match state {
        State::Ended { at, end } if end.is_whole() => Some(at.as_millis() / 1000),
        State::Waiting | State::Running | State::Ended { .. } => None,
    }
}

fn error(state: &State) -> Option<ResponseError<'_>> {
    let State::Ended { end: End::Failed(problem), .. } = state else { return None };
    let ErrorObject { message, code, .. } = ErrorObject::of(problem);
    Some(ResponseError { code: code.unwrap_or("server_error"), message })
}

fn incomplete(state: &State) -> Option<ResponseIncompleteDetails> {
    let State::Ended { end: End::Finished { reason, .. }, .. } = state else { return None };
    let reason = match reason {
        FinishReason::Stop | FinishReason::ToolCalls => return None,
        FinishReason::Length => ResponseIncompleteReason::MaxOutputTokens,
        FinishReason::ContentFilter => ResponseIncompleteReason::ContentFilter,
    };
    Some(ResponseIncompleteDetails { reason })
}

/// Known only at the end.
fn usage(state: &State) -> Option<ResponseUsage> {
    let State::Ended { end: End::Finished { usage, .. }, .. } = state else { return None };
    Some((*usage).into())
}

impl From<Usage> for ResponseUsage {
    /// Cached and reasoning tokens are not counted separately.
    fn from(Usage { input_tokens, output_tokens }: Usage) -> Self {
        Self {
            input_tokens,
            input_tokens_details: ResponseCachedTokens { cached_tokens: 0 },
            output_tokens,
            output_tokens_details: ResponseReasoningTokens { reasoning_tokens: 0 },
            total_tokens: input_tokens.saturating_add(output_tokens),
        }
    }
}
