//! Everything that is stored of one stream, for `tokenwire inspect`.

use tokenwire_core::{
    Attempt, Entry,
    token_log::{Phase, StreamSpec},
};

/// All that is stored of one stream.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The spec, without the metadata, which belongs to the front end.
    pub spec: StreamSpec,
    /// The size of the metadata, in bytes.
    pub metadata_bytes: usize,
    /// The newest attempt. 0 before the first.
    pub attempt: Attempt,
    /// The phase. Only Redis knows for how long the owner has been silent.
    pub phase: Phase,
    /// Whether a stop was requested.
    pub cancelled: bool,
    /// All entries.
    pub entries: Vec<Entry>,
    /// The number of batches.
    pub batches: usize,
    /// The stored size of the batches, in bytes.
    pub stored_bytes: u64,
}
