//! The names of what one stream has in Redis.
//!
//! The id is the hash tag, so a Redis Cluster keeps all keys of a stream on one node and a script may touch them together.

use tokenwire_core::GenerationId;

/// The keys and channels of one stream.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// Hash: what is fixed about the stream, its metadata too, and how it stands.
    pub(super) meta: String,
    /// Stream: one entry per batch, whose id is the seq of the batch's last entry.
    pub(super) entries: String,
    /// String with a time to live: somebody reads.
    pub(super) audience: String,
    /// String with a time to live: when the latest stream of this id was created that was removed after an attempt had
    /// opened it.
    pub(super) removed: String,
    /// Channel: every batch, as `announcement.rs` says, or an empty message when readers should look.
    pub(super) appended: String,
    /// Channel: an empty message when the writer should look whether to stop.
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
    /// Stream with a short time to live: the batches that the writer with this token brings back.
    pub(super) fn restoring(&self, writer: &str) -> String {
        format!("{}:restoring:{writer}", self.appended)
    }
}
