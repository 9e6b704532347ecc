//! An append-only journal of records in one directory: segmented, checksummed, with group commit. It knows nothing of
//! what its records mean.
//!
//! What it promises:
//!
//! - A record whose append succeeded is there after a crash ([`Sync::Commit`]: after a loss of power too), in the order in
//!   which records were submitted. One whose append failed is not.
//! - The completion of every append runs, in commit order, whether or not anybody still waits: what is built from the
//!   records in memory never misses a durable one.
//! - Opening never invents a record, loses none before a damaged place, and keeps those after it.
//!
//! One dedicated thread writes: it takes everything that waits, writes it at once, flushes once and completes all of it.
//! Batches grow by themselves under load, and an append on an idle journal waits for nobody (for a tenth of a millisecond,
//! where the batch before held several).
//!
//! Not here: who may use the directory ([`DirLock`], taken once by the process), an index, compaction. Records are
//! removed by whole segments.

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

/// How long a failed write counts against [`Journal::ready`]. Only another write can tell whether there is space again,
/// and nobody sends one to a service that says that it is not ready.
const FAILURE_COUNTS: Duration = Duration::from_secs(10);

/// How a journal keeps its records.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How large a segment grows before the next one is begun, in bytes; at most 1 GiB. The unit of removal. A record that
    /// is larger gets a segment of its own. Default: 64 MiB.
    pub segment_bytes: u64,
    /// What an append waits for. Default: [`Sync::Commit`].
    pub sync: Sync,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024, sync: Sync::Commit }
    }
}

/// What a record survives once its append has returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// The loss of power: the append waits for the medium.
    #[default]
    Commit,
    /// The death of the process, not that of the machine: the append waits for the operating system.
    Os,
}

/// Where a record lies, for [`Journal::read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The number of its segment.
    pub segment: u64,
    /// Where in the segment it begins, in bytes.
    pub offset: u32,
    /// The size of its payload in bytes.
    pub length: u32,
}

impl Position {
    pub(crate) fn of(segment: u64, offset: u32, payload: &[u8]) -> Self {
        // A payload was checked against its limit when it was taken.
        Self { segment, offset, length: u32::try_from(payload.len()).unwrap_or(u32::MAX) }
    }
}

/// An open journal. Dropping it writes what was submitted, and waits for that.
pub struct Journal {
    segments: Arc<Segments>,
    writer: WriterThread,
}

impl Journal {
    /// Opens the journal in this directory, creating both if need be, and calls `visit` with every record, oldest first.
    /// Blocks while it reads everything once.
    ///
    /// # Errors
    /// [`OpenError`]. Damage is none: it is logged, and what is left is there.
    pub fn open(dir: &Path, options: Options, visit: impl FnMut(Position, &[u8])) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(Disk), dir, options, visit)
    }

    /// As [`Self::open`], on a medium that a test may let fail.
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

    /// Appends a record. Durable to the level of [`Options::sync`] when it returns. If the future is dropped, the record
    /// is wholly there or not at all.
    ///
    /// # Errors
    /// [`JournalError`]; the record is not there, but after [`JournalError::Poisoned`] nobody knows.
    pub async fn append(&self, payload: Vec<u8>) -> Result<Position, JournalError> {
        let room = self.reserve(payload.len()).await?;
        let (outcome, appended) = oneshot::channel();
        self.submit(room, payload, move |result| {
            // Nobody waits any more: the record is there all the same.
            let _ = outcome.send(result);
        });
        appended.await.unwrap_or_else(|_| Err(JournalError::stopped()))
    }

    /// Waits for room for a payload of this size: what was submitted and is not yet written is bounded, so a slow disk
    /// slows writers down instead of filling the memory. Dropping the room gives it back.
    ///
    /// # Errors
    /// [`JournalError::Size`].
    pub async fn reserve(&self, bytes: usize) -> Result<Room, JournalError> {
        if !(1..=MAX_PAYLOAD).contains(&bytes) {
            return Err(JournalError::Size { bytes });
        }
        self.writer.reserve(bytes).await.map(|permit| Room { permit, bytes })
    }

    /// Submits a record, at once: records are committed in the order of these calls. `done` is called with the outcome
    /// once it is known, for one record after the other in that order, on the thread that writes: it must not block.
    /// A payload larger than its room fails with [`JournalError::Size`].
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

    /// Reads a record back with one read of its file, and checks it. Blocks.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, position: Position) -> Result<Vec<u8>, ReadError> {
        self.segments.read(position)
    }

    /// Every segment, oldest first. The completions of all records in a segment that is not active have run.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.segments.list()
    }

    /// Deletes a segment and all its records. One that is not there is no error, and the active one is never deleted.
    /// Blocks.
    ///
    /// # Errors
    /// What the system said; the segment is still there.
    pub fn remove(&self, segment: u64) -> io::Result<()> {
        self.segments.remove(segment)
    }

    /// Whether appends can be expected to succeed.
    ///
    /// # Errors
    /// Why the journal is poisoned, or why a write failed within the last ten seconds.
    pub fn ready(&self) -> Result<(), JournalError> {
        self.writer.health(FAILURE_COUNTS)
    }

    /// Waits until the journal is poisoned: nothing can be appended to it ever again, and its process should end.
    pub fn poisoned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.writer.poisoned()
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("dir", &self.segments.dir()).finish_non_exhaustive()
    }
}

/// Room for one payload that is about to be submitted.
#[derive(Debug)]
#[must_use = "dropping it gives the room back"]
pub struct Room {
    permit: OwnedSemaphorePermit,
    bytes: usize,
}

impl Room {
    /// Takes a part of this size off, for another payload.
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

/// Why a record was not appended. All records that were to be written together fail together.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no space. Free some; later appends are tried again.
    #[error("there is no space left for the journal")]
    Full(#[source] Arc<io::Error>),
    /// It could not be written. Later appends are tried again.
    #[error("cannot write to the journal")]
    Io(#[source] Arc<io::Error>),
    /// A flush failed earlier, or a failed write could not be undone: what is on the medium is not known, and nothing is
    /// written any more. End the process; opening the journal again finds out.
    #[error("the journal takes nothing any more after a failure of its medium: restart")]
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
