//! Builds the index from the journal's records when the log is opened.
//!
//! Each record goes through the same functions as when it was first committed. What differs is that something may be
//! missing: a stream that lost a batch to damage keeps what lies before the gap, and is unsealed from there, so that the
//! next attempt goes on with it (I1).

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
    /// A version that this one does not know.
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

    /// The index of what is there, unless a newer version has written to the log.
    pub(super) fn finish(self) -> Result<Index, OpenError> {
        if let Some(version) = self.newer {
            return Err(OpenError::Newer { version });
        }
        // Readers have as long to come back as if they had gone just now, however long the reading took.
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
            // The earlier one was forgotten when this one was created.
            if let Some(earlier) = self.by_id.insert(id, stream) {
                self.by_number.remove(&earlier.number);
            }
            return;
        }
        // What is left of a stream whose creation lies in a segment that is gone.
        let Some(stream) = self.by_number.get(&number).map(Arc::clone) else { return };
        match change {
            Change::Created { .. } | Change::Caller(_) => {}
            Change::Opened { attempt } => {
                // Refused when it was committed, and now.
                let _ = stream.opened(attempt, at);
            }
            Change::Appended(batch) => self.append(&stream, &batch, at),
            Change::Cancelled => stream.cancelled(at),
            Change::Request(_) => stream.requested(at),
            Change::Attempts { attempt, attempts, ownership } => {
                // Refused when it was committed, and now.
                let _ = stream.recorded(attempt, attempts, ownership, at);
            }
            Change::Unknown => {
                tracing::debug!(generation.id = %stream.id, "skipping what a newer version wrote");
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
                "entries of a generation are lost; it goes on from the last one before the gap"
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
