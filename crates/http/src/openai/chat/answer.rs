//! What every piece of an answer repeats, and the parts that whole answers and streamed ones write alike.

use serde::Serialize;
use tokenwire_core::{GenerationId, ModelName, Timestamp, Usage};
use utoipa::ToSchema;

/// Which answer it is. The same on every replica and at every call, or else two readers of one answer would differ.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ChatIdentity)]
pub(super) struct Identity {
    /// `chatcmpl-` and the id under which any front end can read the generation.
    id: String,
    /// `chat.completion`, or `chat.completion.chunk` in a stream.
    object: &'static str,
    /// When the generation was accepted, in seconds.
    created: u64,
    #[schema(value_type = String)]
    model: ModelName,
}

impl Identity {
    pub(super) fn new(id: GenerationId, object: &'static str, created: Timestamp, model: ModelName) -> Self {
        Self { id: format!("chatcmpl-{id}"), object, created: created.as_millis() / 1000, model }
    }
}

/// What an answer cost, by OpenAI's names.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ChatUsage)]
pub(super) struct Cost {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

impl From<Usage> for Cost {
    fn from(Usage { input_tokens, output_tokens }: Usage) -> Self {
        Self {
            prompt_tokens: input_tokens,
            completion_tokens: output_tokens,
            total_tokens: input_tokens.saturating_add(output_tokens),
        }
    }
}
