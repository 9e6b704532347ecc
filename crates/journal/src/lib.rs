//! An append-only journal of records in one directory: segmented, checksummed, with group commit. It does not interpret its
//! records.
//!
//! Contract:
//!
//! - A record whose append succeeded survives a crash ([`Sync::Commit`]: also a loss of power). Records keep the order of
//!   their submission. A record whose append failed is not there.
//! - The completion of every append runs, in commit order, even if its caller has gone. So an index in memory never lacks a
//!   durable record.
//! - Opening never invents a record, loses none before a damaged range, and keeps those after it.
//!
//! One dedicated thread writes: it takes all waiting records, writes them at once, flushes once and completes them. Batches
//! grow under load. An append on an idle journal waits for no other (or for 0.1 ms, if the batch before it had several
//! records).
//!
//! Not here: the use of a directory by one process ([`DirLock`]), an index, compaction. Records are removed by whole
//! segments.

mod committer;
mod format;
mod lock;
mod medium;
mod recover;
mod scan;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::{fmt, fs, io, path::Path, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

pub use format::MAX_PAYLOAD;
pub use lock::{DirLock, LockError};
pub use medium::{Disk, Medium};
pub use recover::OpenError;
pub use scan::scan;
pub use segment::{ReadError, SegmentInfo};

use segment::Segments;
use writer::{Pending, WriterThread};

/// How long a failed write counts in [`Journal::ready`]. Only another write can show that there is space again, and a
/// service that is not ready gets none.
const FAILURE_COUNTS: Duration = Duration::from_secs(10);

/// The settings of a journal.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The size of a segment in bytes, at most 1 GiB. A larger record gets its own segment. Segments are removed as a
    /// whole. Default: 64 MiB.
    pub segment_bytes: u64,
    /// What an append waits for. Default: [`Sync::Commit`].
    pub sync: Sync,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024, sync: Sync::Commit }
    }
}

/// What a record survives after its append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// A loss of power: the append waits for the disk.
    #[default]
    Commit,
    /// The death of the process, not of the machine: the append waits for the operating system.
    Os,
}

/// The position of a record, for [`Journal::read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The number of its segment.
    pub segment: u64,
    /// Its offset in the segment, in bytes.
    pub offset: u32,
    /// The size of its payload in bytes.
    pub length: u32,
}

impl Position {
    pub(crate) fn of(segment: u64, offset: u32, payload: &[u8]) -> Self {
        // The size of a payload was checked before.
        Self { segment, offset, length: u32::try_from(payload.len()).unwrap_or(u32::MAX) }
    }
}

/// An open journal. Dropping it writes what was submitted, and waits for that.
pub struct Journal {
    segments: Arc<Segments>,
    writer: WriterThread,
}

impl Journal {
    /// Opens the journal in this directory, and creates both if needed. Calls `visit` with every record, oldest first.
    /// Blocks while it reads the whole journal.
    ///
    /// # Errors
    /// [`OpenError`]. Damage is no error: it is logged, and the rest is kept.
    pub fn open(dir: &Path, options: Options, visit: impl FnMut(Position, &[u8])) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(Disk), dir, options, visit)
    }

    /// As [`Self::open`], on a medium that a test can make fail.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(
        medium: Arc<dyn Medium>,
        dir: &Path,
        options: Options,
        mut visit: impl FnMut(Position, &[u8]),
    ) -> Result<Self, OpenError> {
        fs::create_dir_all(dir).map_err(|source| OpenError::at(dir, source))?;
        let segments = Arc::new(Segments::new(dir.to_owned()));
        recover::recover(&segments, &*medium, &mut visit)?;
        let writer = WriterThread::start(Arc::clone(&segments), medium, options)
            .map_err(|source| OpenError::at(dir, source))?;
        Ok(Self { segments, writer })
    }

    /// Appends a record. Durable to the level of [`Options::sync`] when it returns. If the future is dropped, the record is
    /// completely there or not at all.
    ///
    /// # Errors
    /// [`JournalError`]: the record is not there. After [`JournalError::Poisoned`] that is unknown.
    pub async fn append(&self, payload: Vec<u8>) -> Result<Position, JournalError> {
        let room = self.reserve(payload.len()).await?;
        let (outcome, appended) = oneshot::channel();
        self.submit(room, payload, move |result| {
            // The caller has gone. The record is there.
            let _ = outcome.send(result);
        });
        appended.await.unwrap_or_else(|_| Err(JournalError::stopped()))
    }

    /// Reserves room for a payload of this size. The submitted bytes that are not yet written are bounded, so a slow disk
    /// slows writers down instead of filling the memory. Dropping the room frees it.
    ///
    /// # Errors
    /// [`JournalError::Size`].
    pub async fn reserve(&self, bytes: usize) -> Result<Room, JournalError> {
        if !(1..=MAX_PAYLOAD).contains(&bytes) {
            return Err(JournalError::Size { bytes });
        }
        self.writer.reserve(bytes).await.map(|permit| Room { permit, bytes })
    }

    /// Submits a record. Records are committed in the order of these calls. `done` gets the outcome, for one record after
    /// the other in that order, on the writing thread: it must not block. A payload that is larger than its room fails with
    /// [`JournalError::Size`].
    pub fn submit(
        &self,
        room: Room,
        payload: Vec<u8>,
        done: impl FnOnce(Result<Position, JournalError>) + Send + 'static,
    ) {
        if payload.is_empty() || payload.len() > room.bytes {
            done(Err(JournalError::Size { bytes: payload.len() }));
            return;
        }
        self.writer.submit(Pending { payload, done: Box::new(done), _room: room.permit });
    }

    /// Reads a record with one read of its file, and checks it. Blocks.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, position: Position) -> Result<Vec<u8>, ReadError> {
        self.segments.read(position)
    }

    /// The segments, oldest first. The completions of all records in a segment that is not active have run.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.segments.list()
    }

    /// Deletes a segment with its records. No effect on a missing segment and on the active one. Blocks.
    ///
    /// # Errors
    /// The error of the system. The segment is still there.
    pub fn remove(&self, segment: u64) -> io::Result<()> {
        self.segments.remove(segment)
    }

    /// Whether appends are expected to succeed.
    ///
    /// # Errors
    /// Why the journal is poisoned, or why a write failed within the last 10 s.
    pub fn ready(&self) -> Result<(), JournalError> {
        self.writer.health(FAILURE_COUNTS)
    }

    /// Waits until the journal is poisoned: it takes no more records, and its process should end.
    pub fn poisoned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.writer.poisoned()
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("dir", &self.segments.dir()).finish_non_exhaustive()
    }
}

/// Reserved room for one payload.
#[derive(Debug)]
#[must_use = "dropping it frees the room"]
pub struct Room {
    permit: OwnedSemaphorePermit,
    bytes: usize,
}

impl Room {
    /// Splits off room for another payload of this size.
    ///
    /// # Errors
    /// [`JournalError::Size`] when nothing would be left.
    pub fn split_off(&mut self, bytes: usize) -> Result<Self, JournalError> {
        let wrong = JournalError::Size { bytes };
        let Some(rest) = self.bytes.checked_sub(bytes).filter(|rest| *rest > 0) else { return Err(wrong) };
        let permit = self.permit.split(bytes).ok_or(wrong)?;
        self.bytes = rest;
        Ok(Self { permit, bytes })
    }
}

/// Why a record was not appended. Records of one group fail together.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no space. Free some. Later appends are tried.
    #[error("there is no space left for the journal")]
    Full(#[source] Arc<io::Error>),
    /// It could not be written. Later appends are tried.
    #[error("cannot write to the journal")]
    Io(#[source] Arc<io::Error>),
    /// A flush failed, or a failed write could not be undone: the content of the disk is unknown, and nothing is written
    /// any more. End the process; opening the journal reads what the disk has.
    #[error("the journal takes no records after a failure of its disk: restart")]
    Poisoned(#[source] Arc<io::Error>),
    /// The payload is empty or too large.
    #[error("a record holds 1 to {MAX_PAYLOAD} bytes and fits its room, not {bytes}")]
    Size {
        /// Its size in bytes.
        bytes: usize,
    },
}

impl JournalError {
    pub(crate) fn stopped() -> Self {
        Self::Poisoned(Arc::new(io::Error::other("its writer has stopped")))
    }
}
