//! The job queue on one machine: jobs in a journal on disk, and where each lies in memory.
//!
//! A job is durable when it is stored and gone when its settling is durable; what lies between (leases, retries) is this
//! process's own business and needs no record. After a restart every job that was not settled waits again, in its order.
//! The queue gives up on nothing by itself. A job whose request cannot be read is leased without one: its stream has the
//! request.
//!
//! One process uses the directory; `journal::DirLock` is taken by whoever owns the data directory, not here.

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

/// How long a job rests that could not be read from the disk.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// How the embedded queue keeps jobs.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What storing a job waits for: `Commit` for the disk, which survives a loss of power; `Os` for the operating system,
    /// which survives the death of this process alone. Default: `Commit`.
    pub sync: journal::Sync,
    /// The size of the files that the queue consists of, in bytes, at most 1 GiB. Space is given back file by file.
    /// Default: 64 MiB.
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

/// What leases need of the queue.
struct Shared {
    journal: Journal,
    /// Apart from the journal, because the completions of its records use it.
    pending: Arc<Pending>,
}

impl Embedded {
    /// Opens the queue in this directory, creating both if need be. Blocks while it reads all of it once. Damage is logged
    /// and costs no more than what it hit.
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

    /// Gives the space back that settled jobs took. To be called every minute or so.
    pub async fn sweep(&self) {
        if let Err(error) = compaction::compact(&self.shared).await {
            tracing::warn!(error = %tokenwire_core::explain(&error), "could not compact the job queue; trying again later");
        }
    }

    /// Waits until the queue can never be written again, because its disk failed in a way that leaves nobody knowing what
    /// it holds. The process should end then: opening the queue finds out.
    pub fn poisoned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.journal.poisoned()
    }

    /// How many records were skipped since the queue was opened, because they are no jobs and name no generation.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    fn skip(&self, held: EmbeddedLease, why: &dyn std::error::Error) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
        metrics::undecodable();
        tracing::error!(error = %tokenwire_core::explain(why), "skipping a job that cannot be read");
        held.forget();
    }

    /// Takes the next job, with its stored form. `None` when it has moved, or is none.
    async fn take(&self) -> Result<Option<(EmbeddedLease, Vec<u8>)>, QueueError> {
        let taken = |ticket, at| (EmbeddedLease::new(Arc::clone(&self.shared), ticket), ticket, at);
        let (held, ticket, at) = self.shared.pending.take(taken).await;
        match self.shared.read(at).await {
            Ok(record) => Ok(Some((held, record))),
            // Dropping what we hold puts it back: it lies elsewhere since we looked.
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

    /// This queue gives up on nothing.
    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        std::future::pending().await
    }

    async fn ready(&self) -> Result<(), QueueError> {
        self.shared.journal.ready().map_err(QueueError::unavailable)
    }
}

fn job(record: &[u8]) -> Result<Job, message::DecodeError> {
    match Record::decode(record) {
        // What this queue stores always names its model.
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

    /// Writes a record down, and lets it take effect, `apply`, in the order of the journal: then, whether or not the
    /// future is still there.
    async fn commit(
        &self,
        room: Room,
        payload: Vec<u8>,
        apply: impl FnOnce(&Result<Position, JournalError>) + Send + 'static,
    ) -> Result<(), QueueError> {
        let (outcome, committed) = oneshot::channel();
        self.journal.submit(room, payload, move |committed| {
            apply(&committed);
            // Nobody waits any more: it has happened all the same.
            let _ = outcome.send(committed);
        });
        match committed.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(QueueError::unavailable(error)),
            Err(stopped) => Err(QueueError::unavailable(stopped)),
        }
    }

    /// Reads a record back, on a thread that may block.
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
    /// Its files cannot be read or written, or a newer version made them.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// A newer version has written to it. Upgrade, or go back to the version that wrote it.
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
