//! The writing thread.
//!
//! It takes all waiting records that fit into the active segment, lets `committer.rs` write them with one write and one
//! flush, and completes each. A failed write is undone: the file is cut back to what is committed, and the next group is
//! tried. After a failed flush or cut the content of the disk is unknown (a second flush may falsely succeed), so nothing
//! is written any more.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    JournalError, MAX_PAYLOAD, Options, Position, Sync,
    committer::{CommitError, Committer},
    format,
    medium::Medium,
    segment::Segments,
};

/// The maximum number of bytes that wait to be written. Two of the largest records, so that one can be encoded while
/// another is written. Further appends wait: this is the only bound on memory.
const MAX_PENDING_BYTES: usize = 2 * MAX_PAYLOAD;

/// How long a group waits for more records if the group before it had several: generations that send in step come together,
/// and otherwise the first would be flushed alone while the others wait. About the time of a flush.
const GATHER: Duration = Duration::from_micros(100);

/// A record that waits to be written.
pub(crate) struct Pending {
    pub(crate) payload: Vec<u8>,
    pub(crate) done: Box<dyn FnOnce(Result<Position, JournalError>) + Send>,
    /// Freed when the record is completed.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// The handle of the thread.
pub(crate) struct WriterThread {
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
    /// Whether the thread sleeps until there is a record.
    idle: bool,
    /// Whether the thread ends when no record waits.
    closing: bool,
    poison: Option<Arc<io::Error>>,
    last_failure: Option<(Instant, JournalError)>,
}

impl WriterThread {
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
        let gather = (options.sync == Sync::Commit).then_some(GATHER);
        let committer = Committer::new(segments, medium, options);
        let end = PoisonOnEnd(Arc::clone(&shared));
        let thread =
            thread::Builder::new().name("journal".into()).spawn(move || end.0.run(committer, gather))?;
        Ok(Self { shared, room: Arc::new(Semaphore::new(MAX_PENDING_BYTES)), thread: Some(thread) })
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
        // A busy thread checks again by itself, and waking it is a system call.
        let wake = std::mem::take(&mut queue.idle);
        drop(queue);
        if wake {
            self.shared.work.notify_one();
        }
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

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        // A completion may hold the last handle to the journal. The thread cannot join itself, and ends by itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // It panicked. Waiting callers got the error.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, mut committer: Committer, gather: Option<Duration>) {
        let mut busy = false;
        loop {
            let Some(group) = self.next_group(&committer, gather.filter(|_| busy)) else {
                return committer.close();
            };
            busy = group.len() > 1;
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
                    tracing::error!(error = %source, "the journal's disk failed; it takes no more records");
                    self.poison(source, group);
                    return;
                }
            }
        }
    }

    /// Waits for records, then for `gather`, then takes those that fit into one segment. `None` when the journal is closed
    /// and no record waits.
    fn next_group(&self, committer: &Committer, gather: Option<Duration>) -> Option<Vec<Pending>> {
        let mut queue = self.lock();
        let waited = queue.waiting.is_empty();
        while queue.waiting.is_empty() {
            if queue.closing {
                return None;
            }
            queue.idle = true;
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(gather) = gather.filter(|_| waited) {
            drop(queue);
            #[expect(
                clippy::disallowed_methods,
                reason = "a wait for more records; this thread has nothing else to do"
            )]
            thread::sleep(gather);
            queue = self.lock();
        }
        let count =
            committer.how_many_fit(queue.waiting.iter().map(|record| format::record_size(&record.payload)));
        Some(queue.waiting.drain(..count).collect())
    }

    /// Fails these records, all waiting ones, and all later ones.
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
        // Nothing panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Poisons the journal when the thread ends by a panic, which only a completion can cause.
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

impl fmt::Debug for WriterThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterThread").finish_non_exhaustive()
    }
}
