//! Looks at one stream in the files of an embedded log, whoever is using them.
//!
//! The records go through the same functions as when the log is opened, so what is refused there is not shown here. Nothing is
//! written, locked or repaired.

use std::{collections::HashMap, path::Path};

use journal::Position;
use tokenwire_core::{Caller, CallerName, Entry, GenerationId};

use super::{
    OpenError,
    records::{Change, DecodeError, Record, StreamNumber},
    replay,
    stream::Stream,
};
use crate::{Inspection, record::Batch};

/// The stream with this id in the log in `dir`, also while the log is open, in this process or another. `None` when there is
/// none, or none any more. A stream whose retention time is over shows until its space is given back. Blocks while it reads
/// all of the log once.
///
/// # Errors
/// [`OpenError`]; that there is no such directory is one.
pub fn inspect(dir: &Path, id: GenerationId) -> Result<Option<Inspection>, OpenError> {
    let mut search = Search { id, callers: HashMap::new(), found: None, newer: None };
    journal::scan(dir, |at, bytes| search.record(at, bytes))?;
    match search.newer {
        Some(version) => Err(OpenError::Newer { version }),
        None => Ok(search.found.map(Found::finish)),
    }
}

struct Search {
    id: GenerationId,
    /// Of streams whose creation comes next.
    callers: HashMap<StreamNumber, CallerName>,
    found: Option<Found>,
    /// A version that this one does not know.
    newer: Option<u8>,
}

struct Found {
    number: StreamNumber,
    stream: Stream,
    cancelled: bool,
    entries: Vec<Entry>,
    batches: usize,
    stored_bytes: u64,
}

impl Search {
    fn record(&mut self, at: Position, bytes: &[u8]) {
        match Record::decode(bytes) {
            Ok(Record { stream: number, change: Change::Caller(name) }) => {
                self.callers.insert(number, name);
            }
            Ok(Record { stream: number, change: Change::Created { id, mut spec, metadata } }) => {
                let name = self.callers.remove(&number);
                if id != self.id {
                    return;
                }
                spec.caller = name.map_or(Caller::Anonymous, Caller::Named);
                let stream = Stream::creating(id, number, spec, metadata.len());
                stream.created(at);
                let (cancelled, entries) = (false, Vec::new());
                // The earlier one of this id was forgotten when this one was created.
                self.found = Some(Found { number, stream, cancelled, entries, batches: 0, stored_bytes: 0 });
            }
            Ok(Record { stream: number, change }) => match &mut self.found {
                Some(found) if found.number == number => {
                    if matches!(change, Change::Removed) {
                        self.found = None;
                    } else if let Err(crate::record::DecodeError::Version(version)) = found.apply(&change, at)
                    {
                        self.newer = Some(version);
                    }
                }
                _ => {}
            },
            Err(DecodeError::Version(version)) => self.newer = Some(version),
            // Skipped by whoever opens the log, too.
            Err(DecodeError::Malformed) => {}
        }
    }
}

impl Found {
    fn apply(&mut self, change: &Change<'_>, at: Position) -> Result<(), crate::record::DecodeError> {
        match change {
            Change::Opened { attempt } => {
                let _ = self.stream.opened(*attempt, at);
            }
            Change::Appended(appended) => {
                let batch = Batch::decode(appended.entries)?;
                if self.stream.appended(replay::placed(appended)?, at).is_ok() {
                    self.entries.extend(batch.into_entries());
                    self.batches += 1;
                    self.stored_bytes += u64::from(at.length);
                }
            }
            Change::Cancelled => {
                self.stream.cancelled(at);
                self.cancelled = true;
            }
            Change::Attempts { attempt, attempts, ownership } => {
                let _ = self.stream.recorded(*attempt, *attempts, *ownership, at);
            }
            Change::Created { .. }
            | Change::Caller(_)
            | Change::Removed
            | Change::Request(_)
            | Change::Unknown => {}
        }
        Ok(())
    }

    fn finish(self) -> Inspection {
        let Self { number: _, stream, cancelled, entries, batches, stored_bytes } = self;
        let (attempt, phase) = stream.standing();
        let Stream { spec, metadata_bytes, .. } = stream;
        Inspection { spec, metadata_bytes, attempt, phase, cancelled, entries, batches, stored_bytes }
    }
}
