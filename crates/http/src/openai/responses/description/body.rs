//! What `POST /v1/responses` takes, as types.
#![expect(
    dead_code,
    reason = "these are only shapes: requests are read field by field, for errors that name the field"
)]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    openai::description::Mode,
    openapi::schemas::{self, is},
};

/// What to answer, and how.
#[derive(ToSchema)]
#[schema(as = ResponseRequest)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    /// What is asked: a text of the user, or items.
    input: Input,
    /// One of those that `GET /v1/models` lists; without one, the default model.
    model: Option<String>,
    /// A message of the system before all others. Those of an earlier response are no part of a later one.
    instructions: Option<String>,
    /// Goes on from this response. It must have ended, and not failed.
    previous_response_id: Option<String>,
    /// Whether to answer with events.
    stream: Option<bool>,
    #[schema(schema_with = schemas::no_obfuscation)]
    stream_options: Option<Value>,
    /// Whether the answer goes on whoever reads. Needs `store`.
    background: Option<bool>,
    /// `false`: this API does not show the response again.
    store: Option<bool>,
    /// 0 always takes the likeliest token.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f32>,
    /// Choose among the likeliest tokens that add up to this share.
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f32>,
    /// Choose among so many of the likeliest tokens. Not OpenAI's.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    top_k: Option<u32>,
    /// What the choices follow from; without one, from the response's id. Not OpenAI's.
    #[schema(minimum = 0, maximum = 18_446_744_073_709_551_615_usize)]
    seed: Option<u64>,
    /// Not OpenAI's.
    #[schema(schema_with = schemas::stop_texts)]
    stop: Option<Vec<String>>,
    /// End after so many tokens; the response is `incomplete` then.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    max_output_tokens: Option<u32>,
    /// What the model may call. Handed to the model.
    tools: Option<Vec<Tool>>,
    /// Whether it calls, or has to. Handed to the model.
    tool_choice: Option<ToolChoice>,
    /// Whether it may make several calls in one answer. Handed to the model.
    parallel_tool_calls: Option<bool>,
    /// The form of the answer. Handed to the model.
    text: Option<Text>,
    /// How to think before answering. Handed to the model.
    reasoning: Option<Reasoning>,
    /// Handed to the model.
    #[schema(minimum = -2, maximum = 2)]
    frequency_penalty: Option<f32>,
    /// Handed to the model.
    #[schema(minimum = -2, maximum = 2)]
    presence_penalty: Option<f32>,
    /// Nothing is encrypted here: what a model tells of its reasoning is in the plain.
    include: Option<Vec<Include>>,
    #[schema(schema_with = schemas::disabled)]
    truncation: Option<String>,
    /// Probabilities are not kept: 0.
    #[schema(minimum = 0, maximum = 0)]
    top_logprobs: Option<u32>,
    /// Shown in the resource; changes nothing. At most 16.
    metadata: Option<BTreeMap<String, String>>,
    /// Shown in the resource; changes nothing.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    max_tool_calls: Option<u32>,
    /// Shown in the resource; changes nothing.
    prompt_cache_key: Option<String>,
    /// Changes nothing.
    prompt_cache_retention: Option<String>,
    /// Shown in the resource; changes nothing.
    safety_identifier: Option<String>,
    /// Shown in the resource; changes nothing.
    service_tier: Option<String>,
    /// Changes nothing.
    user: Option<String>,
}

/// A text of the user, or items.
#[derive(ToSchema)]
#[schema(as = ResponseInput)]
#[serde(untagged)]
pub(super) enum Input {
    Text(String),
    Items(Vec<Item>),
}

/// One item of an input. It may have an `id` and a `status`, which are not looked at.
#[derive(ToSchema)]
#[schema(as = ResponseInputItem)]
#[serde(untagged)]
pub(super) enum Item {
    Message(Message),
    FunctionCall(FunctionCall),
    FunctionCallOutput(FunctionCallOutput),
    Reasoning(GivenReasoning),
    ItemReference(ItemReference),
    Compaction(GivenCompaction),
}

/// Something that was said.
#[derive(ToSchema)]
#[schema(as = ResponseInputMessage)]
pub(super) struct Message {
    #[schema(schema_with = is::message, required = false)]
    r#type: String,
    role: Role,
    content: Content,
}

/// Who said it. `developer` is the newer name of `system`.
#[derive(ToSchema)]
#[schema(as = ResponseRole)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    System,
    Developer,
    User,
    Assistant,
}

/// A text, or several that are put together, a line each.
#[derive(ToSchema)]
#[schema(as = ResponseInputContent)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    /// At least one.
    Parts(Vec<Part>),
}

/// A part of a content. The models here read text alone.
#[derive(ToSchema)]
#[schema(as = ResponseInputPart)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    InputText { text: String },
    OutputText { text: String },
    Text { text: String },
    Refusal { refusal: String },
}

/// A call that the model made.
#[derive(ToSchema)]
#[schema(as = ResponseInputCall)]
pub(super) struct FunctionCall {
    #[schema(schema_with = is::function_call)]
    r#type: String,
    call_id: String,
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

/// What the called function answered.
#[derive(ToSchema)]
#[schema(as = ResponseInputCallOutput)]
pub(super) struct FunctionCallOutput {
    #[schema(schema_with = is::function_call_output)]
    r#type: String,
    /// The call that it answers.
    call_id: String,
    output: Content,
}

/// What the model thought. It is not shown to the model again.
#[derive(ToSchema)]
#[schema(as = ResponseInputReasoning)]
pub(super) struct GivenReasoning {
    #[schema(schema_with = is::reasoning)]
    r#type: String,
    summary: Option<Vec<Value>>,
    content: Option<Vec<Value>>,
    #[schema(required = false)]
    encrypted_content: Value,
}

/// What a conversation was compacted to, as it was given.
#[derive(ToSchema)]
#[schema(as = ResponseInputCompaction)]
pub(super) struct GivenCompaction {
    #[schema(schema_with = is::compaction_item)]
    r#type: String,
    encrypted_content: String,
}

/// An item of an earlier response, by its id.
#[derive(ToSchema)]
#[schema(as = ResponseItemReference)]
pub(super) struct ItemReference {
    #[schema(schema_with = is::item_reference)]
    r#type: String,
    id: String,
}

/// A function that the model may call. Other tools are not run here.
#[derive(ToSchema)]
#[schema(as = ResponseTool)]
#[serde(deny_unknown_fields)]
pub(super) struct Tool {
    #[schema(schema_with = is::function)]
    r#type: String,
    name: String,
    /// What it does, for the model.
    description: Option<String>,
    /// A JSON Schema of its arguments.
    #[schema(required = false)]
    parameters: Value,
    strict: Option<bool>,
}

/// Whether the model calls a tool.
#[derive(ToSchema)]
#[schema(as = ResponseToolChoice)]
#[serde(untagged)]
pub(super) enum ToolChoice {
    Mode(Mode),
    Named(Named),
}

/// This function and no other.
#[derive(ToSchema)]
#[schema(as = ResponseNamedTool)]
pub(super) struct Named {
    #[schema(schema_with = is::function)]
    r#type: String,
    name: String,
}

/// The form of an answer.
#[derive(ToSchema)]
#[schema(as = ResponseText)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    format: Option<Format>,
    /// How much to say.
    verbosity: Option<String>,
}

/// Text, any JSON, or JSON that fits a schema.
#[derive(ToSchema)]
#[schema(as = ResponseFormat)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Format {
    Text,
    JsonObject,
    /// Without a name and a schema: any JSON.
    JsonSchema {
        name: Option<String>,
        schema: Option<BTreeMap<String, Value>>,
        #[schema(required = false)]
        description: Value,
        #[schema(required = false)]
        strict: Value,
    },
}

/// How to think before answering.
#[derive(ToSchema)]
#[schema(as = ResponseReasoning)]
#[serde(deny_unknown_fields)]
pub(super) struct Reasoning {
    /// How long.
    effort: Option<String>,
    #[schema(schema_with = schemas::summaries)]
    summary: Option<String>,
    /// The older name of `summary`.
    #[schema(schema_with = schemas::summaries)]
    generate_summary: Option<String>,
}

/// What is there anyway.
#[derive(ToSchema)]
#[schema(as = ResponseInclude)]
pub(super) enum Include {
    #[serde(rename = "reasoning.encrypted_content")]
    EncryptedReasoning,
}
