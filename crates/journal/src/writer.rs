//! The one thread that writes.
//!
//! It takes everything that waits, as far as it fits into the active segment, writes it with one write, flushes it once,
//! and completes it record by record. A write that fails is undone: the file is cut back to what is committed, and the
//! next group is tried as if nothing had happened. A flush that fails, or a cut, leaves a file of which nobody knows what
//! the medium holds (asking again may falsely succeed): nothing is written after that.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    JournalError, MAX_PAYLOAD, Options, Position, Sync,
    format::{self, HEADER},
    medium::Medium,
    recover::{self, Step},
    segment::{Segment, Segments},
};

/// How many bytes may wait to be written. Two of the largest records, so that one can be encoded while one is written;
/// thousands of usual ones, more than any disk wants in one group. Beyond it, appenders wait: memory is bounded here and
/// nowhere else.
const ROOM: usize = 2 * MAX_PAYLOAD;

/// Offsets are 32 bits wide; and nobody wants to read more than this into memory to open one segment.
const MAX_SEGMENT: u64 = 1024 * 1024 * 1024;

/// A record on its way to the medium.
pub(crate) struct Pending {
    pub(crate) payload: Vec<u8>,
    pub(crate) done: Box<dyn FnOnce(Result<Position, JournalError>) + Send>,
    /// Given back when the record is done with.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// The way to the thread.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    poisoned: CancellationToken,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Pending>,
    /// Whether the thread ends once nothing waits.
    closing: bool,
    poison: Option<Arc<io::Error>>,
    last_failure: Option<(Instant, JournalError)>,
}

impl Writer {
    pub(crate) fn start(
        segments: Arc<Segments>,
        medium: Arc<dyn Medium>,
        options: Options,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            poisoned: CancellationToken::new(),
        });
        let committer = Committer {
            segments,
            medium,
            sync: options.sync,
            segment_bytes: u32::try_from(options.segment_bytes.min(MAX_SEGMENT)).unwrap_or(u32::MAX),
            buffer: Vec::new(),
        };
        let end = PoisonOnEnd(Arc::clone(&shared));
        let thread = thread::Builder::new().name("journal".into()).spawn(move || end.0.run(committer))?;
        Ok(Self { shared, room: Arc::new(Semaphore::new(ROOM)), thread: Some(thread) })
    }

    pub(crate) async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, JournalError> {
        let bytes = u32::try_from(bytes).map_err(|_| JournalError::Size { bytes })?;
        Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| JournalError::stopped())
    }

    pub(crate) fn submit(&self, record: Pending) {
        let mut queue = self.shared.lock();
        if let Some(cause) = &queue.poison {
            let error = JournalError::Poisoned(Arc::clone(cause));
            drop(queue);
            (record.done)(Err(error));
            return;
        }
        queue.waiting.push_back(record);
        drop(queue);
        self.shared.work.notify_one();
    }

    pub(crate) fn health(&self, failure_counts: Duration) -> Result<(), JournalError> {
        let queue = self.shared.lock();
        if let Some(cause) = &queue.poison {
            return Err(JournalError::Poisoned(Arc::clone(cause)));
        }
        match &queue.last_failure {
            Some((at, error)) if at.elapsed() < failure_counts => Err(error.clone()),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn poisoned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.poisoned.clone().cancelled_owned()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        // A completion may hold the last handle to the journal: the thread cannot wait for itself, and ends by itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // It ended by a panic: whoever waited for it was told.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, mut committer: Committer) {
        loop {
            let Some(group) = self.next_group(&committer) else { return };
            match committer.commit(&group) {
                Ok(positions) => {
                    self.lock().last_failure = None;
                    for (record, position) in group.into_iter().zip(positions) {
                        (record.done)(Ok(position));
                    }
                }
                Err(CommitError::Undone(source)) => {
                    let error = describe(source);
                    tracing::error!(%error, records = group.len(), "could not write to the journal");
                    self.lock().last_failure = Some((Instant::now(), error.clone()));
                    for record in group {
                        (record.done)(Err(error.clone()));
                    }
                }
                Err(CommitError::Unknown(source)) => {
                    tracing::error!(error = %source, "the journal's medium failed; it takes nothing any more");
                    self.poison(source, group);
                    return;
                }
            }
        }
    }

    /// Waits for records, and takes those that fit into one segment. `None` when the journal was closed and nothing waits.
    fn next_group(&self, committer: &Committer) -> Option<Vec<Pending>> {
        let mut queue = self.lock();
        while queue.waiting.is_empty() {
            if queue.closing {
                return None;
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let count =
            committer.how_many_fit(queue.waiting.iter().map(|record| format::record_size(&record.payload)));
        Some(queue.waiting.drain(..count).collect())
    }

    /// Fails these records, all that wait, and all that will come.
    fn poison(&self, cause: io::Error, group: Vec<Pending>) {
        let cause = Arc::new(cause);
        let waiting = {
            let mut queue = self.lock();
            queue.poison = Some(Arc::clone(&cause));
            std::mem::take(&mut queue.waiting)
        };
        self.poisoned.cancel();
        for record in group.into_iter().chain(waiting) {
            (record.done)(Err(JournalError::Poisoned(Arc::clone(&cause))));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while holding the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells everybody when the thread ends by a panic, in a completion that is not its own code.
struct PoisonOnEnd(Arc<Shared>);

impl Drop for PoisonOnEnd {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison(io::Error::other("its writer panicked"), Vec::new());
        }
    }
}

fn describe(source: io::Error) -> JournalError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            JournalError::Full(Arc::new(source))
        }
        _ => JournalError::Io(Arc::new(source)),
    }
}

/// What the thread works with.
struct Committer {
    segments: Arc<Segments>,
    medium: Arc<dyn Medium>,
    sync: Sync,
    segment_bytes: u32,
    /// Kept for its capacity.
    buffer: Vec<u8>,
}

enum CommitError {
    /// Nothing of the group is in the journal.
    Undone(io::Error),
    /// Nobody knows what is in the journal.
    Unknown(io::Error),
}

impl Committer {
    /// How many of the waiting records go into one group: as many as the segment takes that will hold the first.
    fn how_many_fit(&self, sizes: impl Iterator<Item = u32>) -> usize {
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

    /// Whether a segment that ends here takes no record of this size. An empty one takes any.
    fn is_full(&self, end: u32, size: u32) -> bool {
        end > FIRST_RECORD && end.saturating_add(size) > self.segment_bytes
    }

    fn commit(&mut self, group: &[Pending]) -> Result<Vec<Position>, CommitError> {
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

    fn undo(&self, active: &Segment, end: u32) -> io::Result<()> {
        self.medium.cut(&active.file, u64::from(end))?;
        match self.sync {
            // Else a loss of power could bring back the records of the group that were whole.
            Sync::Commit => self.medium.flush(&active.file),
            Sync::Os => Ok(()),
        }
    }

    /// The active segment, or a new one when this record does not fit.
    fn segment_for(&self, size: u32) -> Result<Arc<Segment>, CommitError> {
        let last = self.segments.last();
        let next = match &last {
            Some(active) => {
                if !self.is_full(active.end.load(Ordering::Relaxed), size) {
                    return Ok(Arc::clone(active));
                }
                // Older segments are whole whatever the level, so that only the newest can end in a crash.
                self.medium.flush(&active.file).map_err(CommitError::Unknown)?;
                active.id + 1
            }
            None => 1,
        };
        let created =
            recover::create(&self.segments, &*self.medium, next).map_err(|(step, error)| match step {
                // What is left of it is emptied by the next try, or replaced when the journal is opened.
                Step::Write => CommitError::Undone(error),
                Step::Flush => CommitError::Unknown(error),
            })?;
        self.segments.insert(Arc::clone(&created));
        Ok(created)
    }
}

const FIRST_RECORD: u32 = 32;
const _: () = assert!(FIRST_RECORD as usize == HEADER, "records begin right after the header");

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}
