//! Builds the index from the journal when the log is opened.
//!
//! Records are applied with the functions that a commit uses. Records may be missing because of damage: a stream keeps what
//! lies before the gap and is not sealed, so that the next attempt continues there (I1).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use journal::Position;
use tokenwire_core::{Caller, CallerName, GenerationId};

use super::{
    OpenError,
    index::Index,
    records::{Appended, Change, DecodeError, Record, StreamNumber},
    stream::{CommittedBatch, Refused, Stream},
};
use crate::record;

#[derive(Debug, Default)]
pub(super) struct Replay {
    by_id: HashMap<GenerationId, Arc<Stream>>,
    by_number: HashMap<StreamNumber, Arc<Stream>>,
    broken: HashSet<StreamNumber>,
    /// Of streams whose creation comes next.
    callers: HashMap<StreamNumber, (CallerName, Position)>,
    highest: u64,
    /// An unknown version of a record.
    newer: Option<u8>,
}

impl Replay {
    pub(super) fn record(&mut self, at: Position, bytes: &[u8]) {
        match Record::decode(bytes) {
            Ok(record) => self.apply(record, at),
            Err(DecodeError::Version(version)) => self.newer = Some(version),
            Err(error @ DecodeError::Malformed) => {
                tracing::error!(?at, %error, "skipping a record of the token log");
            }
        }
    }

    /// The index, unless a newer version has written to the log.
    pub(super) fn finish(self) -> Result<Index, OpenError> {
        if let Some(version) = self.newer {
            return Err(OpenError::Newer { version });
        }
        // Readers get the full time to come back, however long the opening took.
        self.by_id.values().for_each(|stream| stream.touch_presence());
        Ok(Index::new(self.by_id, self.highest + 1))
    }

    fn apply(&mut self, Record { stream: number, change }: Record<'_>, at: Position) {
        self.highest = self.highest.max(number.0);
        if let Change::Caller(name) = change {
            self.callers.insert(number, (name, at));
            return;
        }
        if let Change::Created { id, mut spec, metadata } = change {
            let named = self.callers.remove(&number);
            if let Some((name, _)) = &named {
                spec.caller = Caller::Named(name.clone());
            }
            let stream = Arc::new(Stream::creating(id, number, spec, metadata.len()));
            if let Some((_, at)) = named {
                stream.named(at);
            }
            stream.created(at);
            self.by_number.insert(number, Arc::clone(&stream));
            // An earlier stream of this id was removed before this one was created.
            if let Some(earlier) = self.by_id.insert(id, stream) {
                self.by_number.remove(&earlier.number);
            }
            return;
        }
        // A record of a stream whose creation was deleted with its segment.
        let Some(stream) = self.by_number.get(&number).map(Arc::clone) else { return };
        match change {
            Change::Created { .. } | Change::Caller(_) => {}
            Change::Opened { attempt } => {
                // A refused record is refused again.
                let _ = stream.opened(attempt, at);
            }
            Change::Appended(batch) => self.append(&stream, &batch, at),
            Change::Cancelled => stream.cancelled(at),
            Change::Request(_) => stream.requested(at),
            Change::Attempts { attempt, attempts, ownership } => {
                // A refused record is refused again.
                let _ = stream.recorded(attempt, attempts, ownership, at);
            }
            Change::Unknown => {
                tracing::debug!(generation.id = %stream.id, "skipping a record of a newer version");
            }
            Change::Removed => {
                self.by_number.remove(&number);
                self.by_id.remove(&stream.id);
            }
        }
    }

    fn append(&mut self, stream: &Stream, appended: &Appended<'_>, at: Position) {
        let batch = match placed(appended) {
            Ok(batch) => batch,
            Err(record::DecodeError::Version(version)) => {
                self.newer = Some(version);
                return;
            }
            Err(error) => {
                tracing::error!(generation.id = %stream.id, ?at, %error, "skipping entries of a generation");
                return;
            }
        };
        if let Err(Refused::Gap { last_seq }) = stream.appended(batch, at)
            && self.broken.insert(stream.number)
        {
            tracing::error!(
                generation.id = %stream.id, seq = %last_seq, found = %batch.first,
                "entries of a generation are lost; it continues from the last entry before the gap"
            );
        }
    }
}

pub(super) fn placed(appended: &Appended<'_>) -> Result<CommittedBatch, record::DecodeError> {
    let Appended { attempt, first, count, ends, entries } = *appended;
    let sealed_at = if ends {
        Some(record::Batch::decode(entries)?.at)
    } else {
        record::Batch::body(entries)?;
        None
    };
    Ok(CommittedBatch { attempt, first, last: first.plus(count.saturating_sub(1) as usize), sealed_at })
}
