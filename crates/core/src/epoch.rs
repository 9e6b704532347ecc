//! What tells a stream from others of its id.

use std::fmt;

use crate::clock::Timestamp;

/// Tells a stream from others that had, or will have, its id. An id can be reused after its stream was removed or lost.
///
/// The number is the stream's [`start_by`](crate::token_log::StreamSpec::start_by) in milliseconds, because that is what
/// older versions store and compare: as `start_by` in streams and wake-ups, as `expires_at` in jobs. It stays so for as long
/// as older versions run. Nothing but [`Self::of`] may rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch of a stream with this `start_by`.
    pub const fn of(start_by: Timestamp) -> Self {
        Self(start_by.as_millis())
    }

    /// The epoch with this number, as [`Self::get`] gave it.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number, for storage.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
