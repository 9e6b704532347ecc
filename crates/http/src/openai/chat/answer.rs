//! The fields that a whole answer and every chunk of a stream have.

use serde::Serialize;
use tokenwire_core::{GenerationId, ModelName, Timestamp};
use utoipa::ToSchema;

/// Identifies the answer. The same on every replica and for every call, so that all readers get the same bytes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ChatIdentity {
    /// `chatcmpl-` and the id under which any front end can read the generation.
    id: String,
    /// `chat.completion`, or `chat.completion.chunk` in a stream.
    object: &'static str,
    /// When the generation was accepted, in seconds.
    created: u64,
    #[schema(value_type = String)]
    model: ModelName,
}

impl ChatIdentity {
    pub(super) fn new(id: GenerationId, object: &'static str, created: Timestamp, model: ModelName) -> Self {
        Self { id: format!("chatcmpl-{id}"), object, created: created.as_millis() / 1000, model }
    }
}
