//! Reads one stream from the files of an embedded log, also while a process has the log open.
//!
//! It applies records with the functions that opening the log uses, so refused records are not shown. It does not write,
//! lock or repair.

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

/// Reads the stream with this id from the log in `dir`. `None` when there is none. A stream whose retention time is over is
/// shown until its file is deleted. Blocks while it reads the whole log.
///
/// # Errors
/// [`OpenError`], also when the directory does not exist.
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
    /// An unknown version of a record.
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
                // An earlier stream of this id was removed before this one was created.
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
            // Opening the log skips it too.
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
