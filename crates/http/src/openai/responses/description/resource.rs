//! What answers show, as types, where none of ours is written as it is: the resource is a view of what it stems from.
#![expect(dead_code, reason = "these are only shapes")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    openai::responses::output,
    openapi::schemas::{self, is},
};

/// A response. All properties are always there. What the request left out has the value that the format gives it, also where
/// the model's own choice is another.
#[derive(ToSchema)]
#[schema(as = Response)]
pub(super) struct ResponseResource {
    /// `resp_` and the id under which any front end can read the generation.
    id: String,
    #[schema(schema_with = is::response)]
    object: String,
    /// When it was accepted, in seconds.
    created_at: u64,
    /// When it ended, in seconds, where the model said all that it wanted.
    #[schema(required)]
    completed_at: Option<u64>,
    status: ResponseStatus,
    background: bool,
    store: bool,
    /// `unknown` where another front end asked.
    model: String,
    #[schema(required)]
    previous_response_id: Option<String>,
    #[schema(required)]
    instructions: Option<String>,
    #[schema(value_type = Vec<output::Shown<'static>>)]
    output: Vec<Value>,
    #[schema(required)]
    error: Option<ResponseError>,
    #[schema(required)]
    incomplete_details: Option<IncompleteDetails>,
    #[schema(required)]
    usage: Option<ResponseUsage>,
    tools: Vec<BTreeMap<String, Value>>,
    tool_choice: Value,
    parallel_tool_calls: bool,
    text: BTreeMap<String, Value>,
    #[schema(required)]
    reasoning: Option<BTreeMap<String, Value>>,
    temperature: f64,
    top_p: f64,
    presence_penalty: f64,
    frequency_penalty: f64,
    #[schema(required)]
    max_output_tokens: Option<u64>,
    #[schema(required)]
    max_tool_calls: Option<u64>,
    top_logprobs: u64,
    #[schema(schema_with = is::disabled)]
    truncation: String,
    service_tier: String,
    metadata: BTreeMap<String, String>,
    #[schema(required)]
    safety_identifier: Option<String>,
    #[schema(required)]
    prompt_cache_key: Option<String>,
}

/// How far a response has come. What nobody waits for is `queued` first.
#[derive(ToSchema)]
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
#[derive(ToSchema)]
pub(super) struct ResponseError {
    /// For programs: it never changes.
    code: String,
    /// For people.
    message: String,
}

/// Why a response ended early.
#[derive(ToSchema)]
#[schema(as = ResponseIncompleteDetails)]
pub(super) struct IncompleteDetails {
    reason: IncompleteReason,
}

/// Why a response ended early: the limit of tokens, or whoever runs the model held the rest back.
#[derive(ToSchema)]
#[schema(as = ResponseIncompleteReason)]
#[serde(rename_all = "snake_case")]
pub(super) enum IncompleteReason {
    MaxOutputTokens,
    ContentFilter,
}

/// What a response cost, in the model's own tokens.
#[derive(ToSchema)]
pub(in super::super) struct ResponseUsage {
    input_tokens: u64,
    input_tokens_details: CachedTokens,
    output_tokens: u64,
    output_tokens_details: ReasoningTokens,
    total_tokens: u64,
}

/// Not counted apart.
#[derive(ToSchema)]
#[schema(as = ResponseCachedTokens)]
pub(super) struct CachedTokens {
    cached_tokens: u64,
}

/// Not counted apart.
#[derive(ToSchema)]
#[schema(as = ResponseReasoningTokens)]
pub(super) struct ReasoningTokens {
    reasoning_tokens: u64,
}

/// What events about the whole response say.
#[derive(ToSchema)]
#[schema(as = ResponseEvent)]
pub(super) struct OfResponse {
    response: ResponseResource,
}

/// What an event says that tells of a failure.
#[derive(ToSchema)]
#[schema(as = ResponseErrorEvent)]
pub(super) struct Failed {
    error: crate::openai::error::ErrorObject<'static>,
}

/// A response that was forgotten.
#[derive(ToSchema)]
#[schema(as = ResponseDeleted)]
pub(super) struct Deleted {
    id: String,
    #[schema(schema_with = is::response)]
    object: String,
    #[schema(schema_with = schemas::yes)]
    deleted: bool,
}

/// Some items of an input.
#[derive(ToSchema)]
#[schema(as = ResponseInputItems)]
pub(super) struct InputItems {
    #[schema(schema_with = is::list)]
    object: String,
    data: Vec<InputItem>,
    /// Null where there is none.
    #[schema(required)]
    first_id: Option<String>,
    /// Where to go on from, with `after`.
    #[schema(required)]
    last_id: Option<String>,
    /// Whether there are more.
    has_more: bool,
}

/// One of them, as it is understood: of its kind, with an `id`, and texts as parts.
#[derive(ToSchema)]
#[schema(as = ResponseListedItem)]
pub(super) struct InputItem {
    id: String,
    r#type: String,
}
