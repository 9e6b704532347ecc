//! What an answer cost, by OpenAI's names.

use serde::Serialize;
use tokenwire_core::Usage;
use utoipa::ToSchema;

/// What an answer cost, in the model's own tokens.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct CompletionUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

impl From<Usage> for CompletionUsage {
    fn from(Usage { input_tokens, output_tokens }: Usage) -> Self {
        Self {
            prompt_tokens: input_tokens,
            completion_tokens: output_tokens,
            total_tokens: input_tokens.saturating_add(output_tokens),
        }
    }
}

/// The usage in a chunk. Asked for, it is in every chunk, and null in all but the last.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum ChunkUsage {
    NotAsked,
    NotYetKnown,
    Total(CompletionUsage),
}

impl ChunkUsage {
    pub(super) fn was_not_asked(&self) -> bool {
        matches!(self, Self::NotAsked)
    }
}
