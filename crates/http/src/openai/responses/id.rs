//! Names of responses and of what is in them. All follow from the generation's id: nothing is stored for them, and every
//! replica and every reading gives the same.

use tokenwire_core::GenerationId;

/// The name of a generation as a response.
pub(super) fn response(id: GenerationId) -> String {
    format!("resp_{id}")
}

/// The name of an item of its output.
pub(super) fn output(kind: &str, id: GenerationId, index: usize) -> String {
    format!("{kind}_{id}_{index}")
}

/// The name of an item of its input.
pub(super) fn input(kind: &str, id: GenerationId, index: usize) -> String {
    format!("{kind}_{id}_in{index}")
}

/// The generation that a name means. The name of a chat completion, or its id alone, is as good: it is the same generation.
pub(super) fn parse(name: &str) -> Option<GenerationId> {
    let bare = ["resp_", "chatcmpl-"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    bare.parse().ok()
}
