//! The keys and channels of one stream.
//!
//! The id is the hash tag, so that a script may use all keys of a stream.

use tokenwire_core::GenerationId;

/// The keys and channels of one stream.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// Hash: the spec and the state of the stream.
    pub(super) meta: String,
    /// Stream: one entry per batch, whose id is the seq of the batch's last entry.
    pub(super) entries: String,
    /// String with a time to live: a reader is present.
    pub(super) audience: String,
    /// String with a time to live, written by a removal after an attempt: the creation time of the removed stream.
    pub(super) removed: String,
    /// Channel: each batch (see `announcement.rs`), or an empty message when readers should read.
    pub(super) appended: String,
    /// Channel: an empty message when the writer should check for a stop.
    pub(super) stop: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, id: GenerationId) -> Self {
        let family = format!("{prefix}:{{{id}}}");
        Self {
            meta: format!("{family}:meta"),
            entries: format!("{family}:entries"),
            audience: format!("{family}:audience"),
            removed: format!("{family}:removed"),
            stop: format!("{family}:stop"),
            appended: family,
        }
    }
    /// Stream with a short time to live: the batches that the writer with this token restores.
    pub(super) fn restoring(&self, writer: &str) -> String {
        format!("{}:restoring:{writer}", self.appended)
    }
}
