//! One stream for people who look into a store.

use tokenwire_core::{
    Attempt, Entry,
    token_log::{Phase, StreamSpec},
};

/// All that is stored of one stream.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What was fixed when it was created, without the metadata: that is its front end's.
    pub spec: StreamSpec,
    /// How large the metadata is, in bytes.
    pub metadata_bytes: usize,
    /// The newest opening; 0 before the first.
    pub attempt: Attempt,
    /// How it stands. How long its owner has been silent is known where the store knows it: in Redis, not in files.
    pub phase: Phase,
    /// Whether it was told to stop.
    pub cancelled: bool,
    /// Everything that happened.
    pub entries: Vec<Entry>,
    /// How many batches the entries were appended in.
    pub batches: usize,
    /// What the batches take in the store, in bytes.
    pub stored_bytes: u64,
}
