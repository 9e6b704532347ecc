//! The job queue on one machine: jobs in a journal on disk, and their positions in memory.
//!
//! Storing and settling a job are records. Leases and retries are not: after a restart every job that is not settled waits
//! again, in its order. The queue has no dead letters. A job whose request cannot be read is leased without one, because
//! its stream has the request.
//!
//! One process uses the directory. The owner of the data directory takes `journal::DirLock`.

mod compaction;
mod lease;
mod pending;
mod records;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use journal::{Disk, Journal, JournalError, Medium, Options, Position, ReadError, Room};
use tokenwire_core::{Job, JobQueue, Lease, QueueError};
use tokio::{sync::oneshot, task::spawn_blocking};

use self::{
    lease::EmbeddedLease,
    pending::Pending,
    records::{Change, DecodeError, Record, Ticket},
};
use crate::{message, metrics};

/// When a job is delivered again that could not be read from the disk.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// The settings of the embedded queue.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What storing a job waits for. `Commit` waits for the disk and survives a loss of power. `Os` waits for the operating
    /// system and survives the death of the process. Default: `Commit`.
    pub sync: journal::Sync,
    /// The size of the queue's files in bytes, at most 1 GiB. Space is freed file by file. Default: 64 MiB.
    pub segment_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        let Options { segment_bytes, sync } = Options::default();
        Self { sync, segment_bytes }
    }
}

/// The queue in one directory.
pub struct Embedded {
    shared: Arc<Shared>,
    next_ticket: AtomicU64,
    skipped: AtomicU64,
}

/// The part of the queue that leases use.
struct Shared {
    journal: Journal,
    /// Apart from the journal, because the completions of its records use it.
    pending: Arc<Pending>,
}

impl Embedded {
    /// Opens the queue in this directory, and creates both if needed. Blocks while it reads the whole queue. Damage is
    /// logged and costs only the damaged records.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, config: Config) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(Disk), dir, config)
    }

    fn open_on(medium: Arc<dyn Medium>, dir: &Path, config: Config) -> Result<Self, OpenError> {
        let Config { sync, segment_bytes } = config;
        let mut living = BTreeMap::new();
        let mut highest = 0;
        let mut newer = None;
        let mut skipped = 0;
        let journal =
            Journal::open_on(
                medium,
                dir,
                Options { segment_bytes, sync },
                |at, bytes| match Record::decode(bytes) {
                    Ok(Record { ticket, change }) => {
                        highest = highest.max(ticket.0);
                        match change {
                            Change::Stored(_) => drop(living.insert(ticket, at)),
                            Change::Settled => drop(living.remove(&ticket)),
                        }
                    }
                    Err(DecodeError::Version(version)) => newer = Some(version),
                    Err(error @ DecodeError::Malformed) => {
                        tracing::error!(?at, %error, "skipping a record of the job queue");
                        skipped += 1;
                        metrics::undecodable();
                    }
                },
            )?;
        if let Some(version) = newer {
            return Err(OpenError::Newer { version });
        }
        tracing::info!(jobs = living.len(), "opened the job queue");
        Ok(Self {
            shared: Arc::new(Shared { journal, pending: Arc::new(Pending::new(living)) }),
            next_ticket: AtomicU64::new(highest + 1),
            skipped: AtomicU64::new(skipped),
        })
    }

    /// Frees the space of settled jobs. Call it every minute.
    pub async fn sweep(&self) {
        if let Err(error) = compaction::compact(&self.shared).await {
            tracing::warn!(error = %tokenwire_core::explain(&error), "could not compact the job queue; retrying later");
        }
    }

    /// Waits until the disk failed in a way that leaves its content unknown. The queue refuses every write then. End the
    /// process; opening the queue reads what the disk has.
    pub fn poisoned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.journal.poisoned()
    }

    /// How many records were skipped since the queue was opened, because they are not jobs and name no generation.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    fn skip(&self, lease: EmbeddedLease, why: &dyn std::error::Error) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
        metrics::undecodable();
        tracing::error!(error = %tokenwire_core::explain(why), "skipping a job that cannot be read");
        lease.forget();
    }

    /// Takes the next job, with its stored form. `None` when it has moved or cannot be read.
    async fn take(&self) -> Result<Option<(EmbeddedLease, Vec<u8>)>, QueueError> {
        let taken = |ticket, at| (EmbeddedLease::new(Arc::clone(&self.shared), ticket), ticket, at);
        let (held, ticket, at) = self.shared.pending.take(taken).await;
        match self.shared.read(at).await {
            Ok(record) => Ok(Some((held, record))),
            // The job has moved. Dropping the lease returns it.
            Err(ReadError::Gone { .. }) if self.shared.pending.place(ticket) != Some(at) => Ok(None),
            Err(error @ ReadError::Io { .. }) => {
                held.give_back(READ_AGAIN);
                Err(QueueError::unavailable(error))
            }
            Err(error @ (ReadError::Gone { .. } | ReadError::Damaged { .. })) => {
                self.skip(held, &error);
                Ok(None)
            }
        }
    }
}

#[async_trait]
impl JobQueue for Embedded {
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        let ticket = Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        let payload = Record { ticket, change: Change::Stored(&message::encode(job)) }.encode();
        let room = self.shared.reserve(payload.len()).await?;
        let pending = Arc::clone(&self.shared.pending);
        self.shared
            .commit(room, payload, move |committed| {
                if let Ok(at) = committed {
                    pending.stored(ticket, *at);
                }
            })
            .await
    }

    fn waiting(&self) -> usize {
        self.shared.pending.waiting()
    }

    async fn lease(&self) -> Result<Lease, QueueError> {
        loop {
            let Some((held, record)) = self.take().await? else { continue };
            match job(&record) {
                Ok(job) => return Ok(Lease::new(job, Box::new(held))),
                Err(error) => match error.job() {
                    Some(job) => {
                        tracing::error!(generation.id = %job.id, %error, "cannot read a job; its stream may have the request");
                        return Ok(Lease::new(job, Box::new(held)));
                    }
                    None => self.skip(held, &error),
                },
            }
        }
    }

    /// This queue has no dead letters.
    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        std::future::pending().await
    }

    async fn ready(&self) -> Result<(), QueueError> {
        self.shared.journal.ready().map_err(QueueError::unavailable)
    }
}

fn job(record: &[u8]) -> Result<Job, message::DecodeError> {
    match Record::decode(record) {
        // A job of this queue always names its model.
        Ok(Record { change: Change::Stored(job), .. }) => message::decode(job, None),
        Ok(_) | Err(_) => {
            Err(message::DecodeError { id: None, epoch: None, fault: message::InvalidMessage::NotAnObject })
        }
    }
}

impl Shared {
    async fn reserve(&self, bytes: usize) -> Result<Room, QueueError> {
        self.journal.reserve(bytes).await.map_err(QueueError::unavailable)
    }

    /// Commits a record, then runs `apply` in the order of the journal, even if this future was dropped.
    async fn commit(
        &self,
        room: Room,
        payload: Vec<u8>,
        apply: impl FnOnce(&Result<Position, JournalError>) + Send + 'static,
    ) -> Result<(), QueueError> {
        let (outcome, committed) = oneshot::channel();
        self.journal.submit(room, payload, move |committed| {
            apply(&committed);
            // The caller has gone. The record is committed.
            let _ = outcome.send(committed);
        });
        match committed.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(QueueError::unavailable(error)),
            Err(stopped) => Err(QueueError::unavailable(stopped)),
        }
    }

    /// Reads a record on a thread that may block.
    async fn read(self: &Arc<Self>, at: Position) -> Result<Vec<u8>, ReadError> {
        let shared = Arc::clone(self);
        match spawn_blocking(move || shared.journal.read(at)).await {
            Ok(read) => read,
            Err(stopped) => {
                Err(ReadError::Io { file: "the job queue".into(), source: std::io::Error::other(stopped) })
            }
        }
    }
}

/// Why the queue cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its files cannot be read or written, or a newer version wrote them.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// A newer version has written to it. Upgrade, or use the version that wrote it.
    #[error(
        "the job queue has records of format {version}, which this version of tokenwire does not know: upgrade"
    )]
    Newer {
        /// The version of the format.
        version: u8,
    },
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("journal", &self.shared.journal).finish_non_exhaustive()
    }
}
