//! The stored form of entries, the same in every durable adapter: one record holds one batch.
//!
//! A record is a version byte and then, in version 1, JSON: `{"first": 7, "at": 1763800000000, "events": [...]}`. The
//! events have the consecutive seqs from `first`; `at` is when the batch was appended. A reader refuses a version that it
//! does not know instead of guessing; `tests/fixtures` keeps a record of every version ever written.

use serde::{Deserialize, Serialize};
use tokenwire_core::{Entry, Event, Seq, Timestamp};

const VERSION: u8 = 1;

/// Entries that were appended together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) first: Seq,
    pub(crate) at: Timestamp,
    pub(crate) events: Vec<Event>,
}

impl Batch {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut record = vec![VERSION];
        serde_json::to_writer(&mut record, self)
            .expect("events have string keys, and a vector takes every write");
        record
    }

    pub(crate) fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice(Self::body(record)?).map_err(DecodeError::Malformed)
    }

    /// The part after the version, of a record of a version that is known.
    pub(crate) fn body(record: &[u8]) -> Result<&[u8], DecodeError> {
        match record.split_first() {
            Some((&VERSION, body)) => Ok(body),
            Some((&version, _)) => Err(DecodeError::Version(version)),
            None => Err(DecodeError::Empty),
        }
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = Entry> {
        let Self { first, at, events } = self;
        events.into_iter().enumerate().map(move |(index, event)| Entry { seq: first.plus(index), at, event })
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("a stored record is empty")]
    Empty,
    #[error("a stored record has format {0}, this version of tokenwire knows {VERSION}: upgrade")]
    Version(u8),
    #[error("a stored record cannot be read")]
    Malformed(#[source] serde_json::Error),
}
