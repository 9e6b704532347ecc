//! The id of a tool call whose model gave it none. Results have to refer to something.

use tokenwire_core::GenerationId;

/// Follows from the generation, so that every replica and every reading gives the same.
pub(super) fn call_id(generation: GenerationId, index: u32) -> String {
    format!("call_{generation}_{index}")
}
