//! What `POST /ask` takes, as types.
#![expect(
    dead_code,
    reason = "these are only shapes: requests are read field by field, for errors that name the field"
)]

use utoipa::ToSchema;

use crate::openapi::schemas;

/// A question: a prompt alone, or a conversation.
#[derive(ToSchema)]
#[schema(as = AskRequest)]
#[serde(untagged)]
pub(super) enum Body {
    /// A prompt alone.
    Query(Query),
    /// A conversation.
    Messages(Messages),
}

/// A prompt alone.
#[derive(ToSchema)]
#[schema(as = AskQuery)]
pub(super) struct Query {
    /// The prompt: not blank, and at most 256 KiB of UTF-8.
    #[schema(pattern = r"\S", example = "Hello world")]
    query: String,
    #[serde(flatten)]
    options: Options,
}

/// A conversation.
#[derive(ToSchema)]
#[schema(as = AskMessages)]
pub(super) struct Messages {
    /// What was said so far. The last message is the user's; all of them together have at most 256 KiB of UTF-8.
    #[schema(min_items = 1, max_items = 1024)]
    messages: Vec<Message>,
    #[serde(flatten)]
    options: Options,
}

/// One message of a conversation.
#[derive(ToSchema)]
#[schema(as = AskMessage)]
pub(super) struct Message {
    role: Role,
    content: String,
}

/// Who said it.
#[derive(ToSchema)]
#[schema(as = AskRole)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    System,
    User,
    Assistant,
}

/// How to answer. What an option does beyond this is the model's.
#[derive(ToSchema)]
#[schema(as = AskOptions)]
pub(super) struct Options {
    /// The id of the generation, chosen by the client. It makes the call safe to repeat.
    #[schema(format = "uuid")]
    uuid: Option<String>,
    /// One of those that `GET /v1/models` lists; without one, the default model.
    model: Option<String>,
    /// 0 always takes the likeliest token.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f32>,
    /// Choose among the likeliest tokens that add up to this share.
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f32>,
    /// Choose among so many of the likeliest tokens.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    top_k: Option<u32>,
    /// What the choices follow from; without one, from the `uuid`.
    #[schema(minimum = 0, maximum = 18_446_744_073_709_551_615_usize)]
    seed: Option<u64>,
    /// End after so many tokens, with `finish_reason` `length`.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    max_tokens: Option<u32>,
    /// End before the first of these texts that the model says.
    #[schema(schema_with = schemas::stop_texts)]
    stop: Option<Vec<String>>,
}
