//! Writes groups of records into segments: one write and one flush for each group.
//!
//! With [`Sync::Commit`] the file of the active segment is longer than its records, by zeros that take no space. A write
//! inside the file changes no size, so most flushes write no metadata; on ext4 that saves a third of the time of a flush.
//! Zeros are not a record, so readers find the end. The zeros are cut off when the segment is full and when the journal is
//! closed. A crash leaves them.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use crate::{
    MAX_PAYLOAD, Options, Position, Sync,
    format::{self, HEADER},
    medium::Medium,
    recover::{self, Step},
    segment::{Segment, Segments},
    writer::Pending,
};

/// Offsets have 32 bits. A segment is also read into memory when it is opened.
const MAX_SEGMENT: u64 = 1024 * 1024 * 1024;

/// How many bytes of zeros are added at a time: some thousand flushes of a few deltas each.
const PREALLOCATED_BYTES: u32 = 1024 * 1024;

/// The state of the writing thread.
pub(crate) struct Committer {
    segments: Arc<Segments>,
    medium: Arc<dyn Medium>,
    sync: Sync,
    segment_bytes: u32,
    /// Kept for its capacity.
    buffer: Vec<u8>,
    /// The length of the active segment's file, if it is longer than its records.
    reach: u32,
}

/// Why a group was not committed.
pub(crate) enum CommitError {
    /// The group is not in the journal.
    Undone(io::Error),
    /// The content of the journal is unknown.
    Unknown(io::Error),
}

impl Committer {
    pub(crate) fn new(segments: Arc<Segments>, medium: Arc<dyn Medium>, options: Options) -> Self {
        let segment_bytes = u32::try_from(options.segment_bytes.min(MAX_SEGMENT)).unwrap_or(u32::MAX);
        Self { segments, medium, sync: options.sync, segment_bytes, buffer: Vec::new(), reach: 0 }
    }

    /// How many of the waiting records fit into the segment of the first.
    pub(crate) fn how_many_fit(&self, sizes: impl Iterator<Item = u32>) -> usize {
        let mut sizes = sizes.peekable();
        let first = sizes.peek().copied().unwrap_or_default();
        let active_end = self.segments.last().map_or(u32::MAX, |active| active.end.load(Ordering::Relaxed));
        let mut end = if self.is_full(active_end, first) { FIRST_RECORD } else { active_end };
        sizes
            .take_while(|size| {
                let fits = !self.is_full(end, *size);
                end = end.saturating_add(*size);
                fits
            })
            .count()
    }

    /// Whether a segment with this end is too full for a record of this size. An empty one takes any.
    fn is_full(&self, end: u32, size: u32) -> bool {
        end > FIRST_RECORD && end.saturating_add(size) > self.segment_bytes
    }

    /// Writes and flushes a group. Returns the position of each record.
    pub(crate) fn commit(&mut self, group: &[Pending]) -> Result<Vec<Position>, CommitError> {
        let first = group.first().map_or(0, |record| format::record_size(&record.payload));
        let active = self.segment_for(first)?;
        let begin = active.end.load(Ordering::Relaxed);
        self.buffer.clear();
        let mut at = begin;
        let mut positions = Vec::with_capacity(group.len());
        for record in group {
            format::write_record(&mut self.buffer, active.salt, at, &record.payload);
            positions.push(Position::of(active.id, at, &record.payload));
            at += format::record_size(&record.payload);
        }
        self.make_room(&active, at);
        let written = self.medium.write_all_at(&active.file, &self.buffer, u64::from(begin));
        self.buffer.shrink_to(MAX_PAYLOAD / 4);
        if let Err(error) = written {
            self.undo(&active, begin).map_err(CommitError::Unknown)?;
            return Err(CommitError::Undone(error));
        }
        if self.sync == Sync::Commit {
            self.medium.flush(&active.file).map_err(CommitError::Unknown)?;
        }
        active.end.store(at, Ordering::Relaxed);
        Ok(positions)
    }

    /// Extends the file beyond this end. If that fails, writes extend it.
    fn make_room(&mut self, active: &Segment, end: u32) {
        if self.sync == Sync::Commit && self.reach < end {
            let reach = end.saturating_add(PREALLOCATED_BYTES).min(self.segment_bytes.max(end));
            if self.medium.resize(&active.file, u64::from(reach)).is_ok() {
                self.reach = reach;
            }
        }
    }

    /// Cuts the active segment off at this end.
    fn cut(&mut self, active: &Segment, end: u32) -> io::Result<()> {
        self.reach = 0;
        self.medium.resize(&active.file, u64::from(end))
    }

    /// Cuts the zeros off the active segment.
    pub(crate) fn close(mut self) {
        if let Some(active) = self.segments.last()
            && let Err(error) = self.cut(&active, active.end.load(Ordering::Relaxed))
        {
            tracing::warn!(file = %active.path.display(), %error, "could not cut the unused end off a segment");
        }
    }

    fn undo(&mut self, active: &Segment, end: u32) -> io::Result<()> {
        self.cut(active, end)?;
        match self.sync {
            // Otherwise a loss of power could bring back complete records of the group.
            Sync::Commit => self.medium.flush(&active.file),
            Sync::Os => Ok(()),
        }
    }

    /// The active segment, or a new one when this record does not fit.
    fn segment_for(&mut self, size: u32) -> Result<Arc<Segment>, CommitError> {
        let last = self.segments.last();
        let next = match &last {
            Some(active) => {
                let end = active.end.load(Ordering::Relaxed);
                if !self.is_full(end, size) {
                    return Ok(Arc::clone(active));
                }
                self.cut(active, end).map_err(CommitError::Unknown)?;
                // Older segments are flushed with every level, so that only the newest can end in a crash.
                self.medium.flush(&active.file).map_err(CommitError::Unknown)?;
                active.id + 1
            }
            None => 1,
        };
        let created =
            recover::create(&self.segments, &*self.medium, next).map_err(|(step, error)| match step {
                // The next try empties what is left of it, or the next opening replaces it.
                Step::Write => CommitError::Undone(error),
                Step::Flush => CommitError::Unknown(error),
            })?;
        self.segments.insert(Arc::clone(&created));
        Ok(created)
    }
}

const FIRST_RECORD: u32 = 32;
const _: () = assert!(FIRST_RECORD as usize == HEADER, "records begin right after the header");
