//! What `POST /v1/chat/completions` takes, as types.
#![expect(
    dead_code,
    reason = "these are only shapes: requests are read field by field, for errors that name the field"
)]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use crate::openapi::schemas::{self, is};

/// What to answer, and how. A parameter that is not named here goes to the model, which does it or refuses it by its name.
#[derive(ToSchema)]
#[schema(as = ChatCompletionRequest)]
pub(in crate::openai) struct Body {
    /// What was said so far. The last message is the user's, or the result of a tool; all of them together have at most
    /// 256 KiB of UTF-8.
    #[schema(min_items = 1, max_items = 1024)]
    messages: Vec<Message>,
    /// One of those that `GET /v1/models` lists; without one, the default model.
    model: Option<String>,
    /// Whether to answer with events rather than in one piece.
    stream: Option<bool>,
    /// Only with `stream`.
    stream_options: Option<StreamOptions>,
    /// 0 always takes the likeliest token.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f32>,
    /// Choose among the likeliest tokens that add up to this share.
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f32>,
    /// Choose among so many of the likeliest tokens. Not OpenAI's.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    top_k: Option<u32>,
    /// What the choices follow from; without one, from the generation's id.
    seed: Option<i64>,
    /// End after so many tokens, with `finish_reason` `length`.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    max_completion_tokens: Option<u32>,
    /// The older name of `max_completion_tokens`. Both have to agree.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    max_tokens: Option<u32>,
    /// End before the first of these texts that the model says.
    #[schema(schema_with = schemas::stop_texts)]
    stop: Option<Vec<String>>,
    /// How many answers: one.
    #[schema(minimum = 1, maximum = 1)]
    n: Option<u32>,
    /// Probabilities are not kept: `false`.
    #[schema(schema_with = schemas::never)]
    logprobs: Option<bool>,
    /// Probabilities are not kept: 0.
    #[schema(minimum = 0, maximum = 0)]
    top_logprobs: Option<u32>,
    /// `["text"]`: the models here write text alone.
    #[schema(schema_with = schemas::text_alone)]
    modalities: Option<Vec<String>>,
    /// What the model may call. Handed to the model.
    tools: Option<Vec<Tool>>,
    /// Whether it calls, or has to: `none`, `auto`, `required`, or an object that names a tool. Handed to the model.
    tool_choice: Option<ToolChoice>,
    /// Whether it may make several calls in one answer. Handed to the model.
    parallel_tool_calls: Option<bool>,
    /// The form that the answer must have. Handed to the model.
    response_format: Option<ResponseFormat>,
    /// Handed to the model.
    #[schema(minimum = -2, maximum = 2)]
    frequency_penalty: Option<f32>,
    /// Handed to the model.
    #[schema(minimum = -2, maximum = 2)]
    presence_penalty: Option<f32>,
    /// What to add to the likelihood of tokens, by their numbers. Handed to the model.
    logit_bias: Option<BTreeMap<String, Value>>,
    /// How long to think before answering. Handed to the model.
    reasoning_effort: Option<String>,
    /// How much to say. Handed to the model.
    verbosity: Option<String>,
    /// Accepted; changes nothing.
    metadata: Option<Value>,
    /// Accepted; changes nothing.
    prompt_cache_key: Option<Value>,
    /// Accepted; changes nothing.
    prompt_cache_retention: Option<Value>,
    /// Accepted; changes nothing.
    safety_identifier: Option<Value>,
    /// Accepted; changes nothing.
    service_tier: Option<Value>,
    /// Accepted; changes nothing: every answer is kept for the retention time.
    store: Option<Value>,
    /// Accepted; changes nothing.
    user: Option<Value>,
}

/// What the events of an answer say beside it.
#[derive(ToSchema)]
#[schema(as = ChatStreamOptions)]
pub(super) struct StreamOptions {
    /// Whether a last chunk says what the answer cost.
    include_usage: Option<bool>,
    /// Not done here: `false`.
    #[schema(schema_with = schemas::never)]
    include_obfuscation: Option<bool>,
}

/// One message of the conversation.
#[derive(ToSchema)]
#[schema(as = ChatMessage)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(super) enum Message {
    /// What the model is to keep to.
    System { content: Content },
    /// The newer name of `system`.
    Developer { content: Content },
    /// What the user said.
    User { content: Content },
    /// What the model said. What it thought (`reasoning_content`) may be there and is left out.
    Assistant {
        content: Option<Content>,
        /// In the place of a content.
        refusal: Option<String>,
        tool_calls: Option<Vec<Call>>,
    },
    /// What a tool answered.
    Tool {
        /// The call that it answers.
        tool_call_id: String,
        content: Content,
    },
}

/// A text, or several that are put together, a line each.
#[derive(ToSchema)]
#[schema(as = ChatContent)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    /// At least one.
    Parts(Vec<Part>),
}

/// A part of a message. The models here read text alone.
#[derive(ToSchema)]
#[schema(as = ChatPart)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Part {
    Text { text: String },
    Refusal { refusal: String },
}

/// A call that the model made.
#[derive(ToSchema)]
#[schema(as = ChatCall)]
pub(super) struct Call {
    id: String,
    #[schema(schema_with = is::function, required = false)]
    r#type: String,
    function: CalledFunction,
}

/// What was called.
#[derive(ToSchema)]
#[schema(as = ChatCalledFunction)]
pub(super) struct CalledFunction {
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

/// Something that the model may call.
#[derive(ToSchema)]
#[schema(as = ChatTool)]
pub(super) struct Tool {
    #[schema(schema_with = is::function)]
    r#type: String,
    function: Function,
}

/// A function. It goes to the model as it is.
#[derive(ToSchema)]
#[schema(as = ChatFunction)]
pub(super) struct Function {
    name: String,
    /// What it does, for the model.
    #[schema(required = false)]
    description: Value,
    /// A JSON Schema of its arguments.
    #[schema(required = false)]
    parameters: Value,
    #[schema(required = false)]
    strict: Value,
}

/// Whether the model calls a tool.
#[derive(ToSchema)]
#[schema(as = ChatToolChoice)]
#[serde(untagged)]
pub(super) enum ToolChoice {
    Mode(Mode),
    Named(BTreeMap<String, Value>),
}

/// Whether the model calls some tool.
#[derive(ToSchema)]
#[schema(as = ToolChoiceMode)]
#[serde(rename_all = "lowercase")]
pub(in crate::openai) enum Mode {
    None,
    Auto,
    Required,
}

/// The form of an answer: `text`, `json_object`, `json_schema`, or what else the model knows.
#[derive(ToSchema)]
#[schema(as = ChatResponseFormat)]
pub(super) struct ResponseFormat {
    r#type: String,
    /// With `json_schema`.
    #[schema(required = false)]
    json_schema: Value,
}
