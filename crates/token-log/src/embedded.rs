//! The token log on one machine: streams in a journal on disk, and an index of them in memory.
//!
//! Every change of a stream is a record in one journal. It takes effect when the journal has committed it, in the order of
//! the journal. So a batch is visible, and announced, only once it is durable (I2). A batch of an older writer that is
//! committed after a newer opening is refused (I3), now and whenever the log is opened again. The index has the positions
//! of batches and metadata, not their content.
//!
//! One process uses the directory. The owner of the data directory takes `journal::DirLock`.

mod index;
mod inspect;
mod records;
mod replay;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use journal::{Disk, Journal, JournalError, Medium, Options, Position, ReadError};
use tokenwire_core::{
    Attempt, Clock, Entry, Event, GenerationId, LogError, LogWriter, Seq, TokenLog,
    token_log::{Cancellation, Created, Hint, JobClaim, Page, Prefix, StreamSpec, Wakeups},
};
use tokio::{sync::oneshot, task::spawn_blocking};

pub use self::inspect::inspect;
use self::{
    index::{Creation, Index},
    records::{Change, DecodeError, Record, StreamNumber},
    replay::Replay,
    stream::{Placed, Refused, Stream, View},
    writer::EmbeddedWriter,
};
use crate::{claims::Claims, record::Batch, wakeups::WakeupRegistry};

/// The settings of the embedded log.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What an append waits for. `Commit` waits for the disk and survives a loss of power. `Os` waits for the operating
    /// system and survives the death of the process. Default: `Commit`.
    pub sync: journal::Sync,
    /// The size of the log's files in bytes, at most 1 GiB. A file is deleted when no kept stream has a record in it.
    /// Default: 64 MiB.
    pub segment_bytes: u64,
    /// How long a stream is kept after its seal, or after its `end_by` if it is never sealed. Default: 24 h.
    pub retention: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let Options { segment_bytes, sync } = Options::default();
        Self { sync, segment_bytes, retention: Duration::from_secs(24 * 60 * 60) }
    }
}

/// The log in one directory.
pub struct Embedded {
    shared: Arc<Shared>,
    retention: Duration,
}

/// The part of the log that writers use.
struct Shared {
    journal: Journal,
    index: Arc<Index>,
    wakeups: Arc<WakeupRegistry>,
    clock: Arc<dyn Clock>,
}

impl Embedded {
    /// Opens the log in this directory, and creates both if needed. Blocks while it reads the whole log. Damage is logged
    /// and costs only the damaged records.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, config: Config, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(Disk), dir, config, clock)
    }

    fn open_on(
        medium: Arc<dyn Medium>,
        dir: &Path,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let Config { sync, segment_bytes, retention } = config;
        let mut replay = Replay::default();
        let journal = Journal::open_on(medium, dir, Options { segment_bytes, sync }, |at, bytes| {
            replay.record(at, bytes);
        })?;
        let index = Arc::new(replay.finish()?);
        let log =
            Self { shared: Arc::new(Shared { journal, index, wakeups: Arc::default(), clock }), retention };
        // Streams that expired before and whose files are still needed.
        log.forget_expired();
        Ok(log)
    }

    /// Removes streams whose retention time is over, and deletes files that are not needed. Call it every minute.
    pub async fn sweep(&self) {
        // List the segments first: every record in a segment that is not active by then is in the index.
        let segments = self.shared.journal.segments();
        self.forget_expired();
        let used = self.shared.index.segments();
        // Oldest first, and none before an older one: otherwise a record could come back because its removal was deleted.
        let unused: Vec<_> = segments
            .into_iter()
            .take_while(|segment| !segment.active && !used.contains(&segment.id))
            .map(|segment| segment.id)
            .collect();
        if unused.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let removing = spawn_blocking(move || {
            unused.into_iter().try_for_each(|segment| {
                tracing::info!(segment, "deleting a file of the token log that is not needed any more");
                shared.journal.remove(segment)
            })
        });
        match removing.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "could not delete a file of the token log; retrying later");
            }
            Err(error) => tracing::error!(%error, "deleting files of the token log failed"),
        }
    }

    /// Waits until the disk failed in a way that leaves its content unknown. The log refuses every write then. End the
    /// process; opening the log reads what the disk has.
    pub fn poisoned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shared.journal.poisoned()
    }

    fn forget_expired(&self) {
        let now = self.shared.clock.now();
        for stream in self.shared.index.all() {
            if stream.is_kept() && stream.ended_at().after(self.retention) <= now {
                tracing::debug!(generation.id = %stream.id, "removed an expired generation");
                self.shared.index.forget(&stream);
            }
        }
    }
}

impl Embedded {
    /// The writer of an opened stream, with the prefix.
    async fn writer(
        &self,
        stream: Arc<Stream>,
        (attempt, cancellation, view): (Attempt, Cancellation, View),
    ) -> Result<Box<dyn LogWriter>, LogError> {
        let mut so_far = Prefix::default();
        for entry in self.shared.entries(&stream, view.batches).await? {
            so_far.push(&entry);
        }
        tracing::debug!(generation.id = %stream.id, %attempt, seq = %view.last_seq, "opened a stream");
        Ok(Box::new(EmbeddedWriter::new(
            Arc::clone(&self.shared),
            stream,
            attempt,
            cancellation,
            so_far,
            view.last_seq,
        )))
    }

    async fn open_stream(&self, stream: &Arc<Stream>) -> Result<(Attempt, Cancellation, View), LogError> {
        loop {
            let attempt = stream.next_attempt()?;
            let opened = self
                .shared
                .commit(stream, Change::Opened { attempt }, move |stream, at| stream.opened(attempt, at));
            match opened.await? {
                Ok((cancellation, view)) => return Ok((attempt, cancellation, view)),
                // A higher attempt was opened first. Use the next number.
                Err(Refused::Fenced) => {}
                Err(refused) => return Err(stream.error(refused)),
            }
        }
    }
}

#[async_trait]
impl TokenLog for Embedded {
    async fn create(&self, id: GenerationId, spec: &StreamSpec) -> Result<Created, LogError> {
        // Metadata and request stay on disk.
        let kept = StreamSpec { metadata: Bytes::new(), request: Bytes::new(), ..spec.clone() };
        let record = |number| {
            let change = Change::Created { id, spec: kept.clone(), metadata: &spec.metadata };
            Record { stream: number, change }.encode()
        };
        let caller = |number| {
            let change = Change::Caller(spec.caller.name()?.clone());
            Some(Record { stream: number, change }.encode())
        };
        loop {
            // Reserved first, because this future must not be dropped between the claim of the id and the record.
            let bytes = record(StreamNumber(0)).len();
            let caller_bytes = caller(StreamNumber(0)).map(|caller| caller.len());
            let mut room = self.shared.reserve(bytes + caller_bytes.unwrap_or_default()).await?;
            let caller_room = caller_bytes.map(|bytes| room.split_off(bytes)).transpose();
            let caller_room = caller_room.map_err(LogError::unavailable)?;
            let stream = match self.shared.index.claim(id, &kept, spec.metadata.len()) {
                Creation::New(stream) => stream,
                Creation::Existing(stream) if stream.is_kept() => {
                    return Ok(Created::Existing(stream.spec.fingerprint));
                }
                Creation::Existing(stream) => {
                    drop(room);
                    stream.settled.cancelled().await;
                    continue;
                }
            };
            let not_named = Arc::new(OnceLock::new());
            if let Some((payload, room)) = caller(stream.number).zip(caller_room) {
                let (creating, not_named) = (Arc::clone(&stream), Arc::clone(&not_named));
                self.shared.journal.submit(room, payload, move |committed| match committed {
                    Ok(at) => creating.named(at),
                    Err(error) => drop(not_named.set(error)),
                });
            }
            let (outcome, created) = oneshot::channel();
            let index = Arc::clone(&self.shared.index);
            let payload = record(stream.number);
            let creating = Arc::clone(&stream);
            self.shared.journal.submit(room, payload, move |committed| {
                // Without the record of its caller the stream would read as anonymous.
                let committed = committed.and_then(|at| not_named.get().cloned().map_or(Ok(at), Err));
                match &committed {
                    Ok(at) => creating.created(*at),
                    Err(_) => index.forget(&creating),
                }
                // A caller that has gone calls again. Creating is idempotent.
                let _ = outcome.send(committed);
            });
            if !spec.request.is_empty() {
                // Right after it, usually in the same flush. Without it the stream is like one of an older version.
                let change = Change::Request(&spec.request);
                self.shared.commit(&stream, change, Stream::requested).await?;
            }
            return received(created).await.map(|_| Created::New);
        }
    }

    async fn open_writer(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        let stream = self.shared.index.kept(id)?;
        let opened = self.open_stream(&stream).await?;
        self.writer(stream, opened).await
    }

    async fn take_over(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        let stream = self.shared.index.kept(id)?;
        stream.take_over()?;
        let opened = self.open_stream(&stream).await?;
        self.writer(stream, opened).await
    }

    async fn seal_damaged(&self, id: GenerationId, last: &Event) -> Result<(), LogError> {
        let stream = self.shared.index.kept(id)?;
        let (attempt, cancellation, View { last_seq, .. }) = self.open_stream(&stream).await?;
        let nothing = Prefix::default();
        let mut writer =
            EmbeddedWriter::new(Arc::clone(&self.shared), stream, attempt, cancellation, nothing, last_seq);
        writer.seal(last).await.map(drop)
    }

    async fn read(&self, id: GenerationId, after: Seq, limit: NonZeroUsize) -> Result<Page, LogError> {
        let stream = self.shared.index.kept(id)?;
        let View { batches, last_seq, phase } = stream.view(after, limit.get())?;
        let mut entries = self.shared.entries(&stream, batches).await?;
        entries.retain(|entry| entry.seq > after);
        entries.truncate(limit.get());
        Ok(Page { entries, last_seq, phase, epoch: stream.spec.epoch() })
    }

    async fn spec(&self, id: GenerationId) -> Result<StreamSpec, LogError> {
        let stream = self.shared.index.kept(id)?;
        let (metadata_at, request_at) = (stream.metadata(), stream.request());
        if metadata_at.is_none() && request_at.is_none() {
            return Ok(stream.spec.clone());
        }
        let read = move |journal: &Journal| {
            let metadata = metadata_at.map(|at| metadata(journal, at)).transpose()?.unwrap_or_default();
            let request = request_at.map(|at| request(journal, at)).transpose()?.unwrap_or_default();
            Ok((metadata, request))
        };
        let (metadata, request) = self.shared.read_back(&stream, read).await?;
        Ok(StreamSpec { metadata, request, ..stream.spec.clone() })
    }

    async fn wakeups(&self, id: GenerationId) -> Result<Wakeups, LogError> {
        Ok(self.shared.wakeups.listen(id))
    }

    async fn cancel(&self, id: GenerationId) -> Result<(), LogError> {
        let stream = self.shared.index.kept(id)?;
        if stream.wants_cancel()? {
            self.shared.commit(&stream, Change::Cancelled, Stream::cancelled).await?;
        }
        Ok(())
    }

    async fn touch_presence(&self, id: GenerationId) -> Result<(), LogError> {
        if let Ok(stream) = self.shared.index.kept(id) {
            stream.touch_presence();
        }
        Ok(())
    }

    async fn remove(&self, id: GenerationId) -> Result<(), LogError> {
        let Ok(stream) = self.shared.index.kept(id) else { return Ok(()) };
        let (index, wakeups) = (Arc::clone(&self.shared.index), Arc::clone(&self.shared.wakeups));
        let removed = self.shared.commit(&stream, Change::Removed, move |stream, _| {
            index.forget(stream);
            wakeups.announce(id, Hint::Look);
        });
        removed.await
    }

    async fn claim_job(&self, id: GenerationId) -> Result<JobClaim, LogError> {
        Ok(self.shared.index.kept(id)?.with_claims(Claims::claim))
    }

    async fn job_stored(&self, id: GenerationId) -> Result<(), LogError> {
        if let Ok(stream) = self.shared.index.kept(id) {
            stream.with_claims(Claims::stored);
        }
        Ok(())
    }

    async fn ready(&self) -> Result<(), LogError> {
        self.shared.journal.ready().map_err(LogError::unavailable)
    }
}

impl Shared {
    async fn reserve(&self, bytes: usize) -> Result<journal::Room, LogError> {
        self.journal.reserve(bytes).await.map_err(LogError::unavailable)
    }

    /// Commits one change of a stream, then runs `apply` in the order of the journal, even if this future was dropped.
    /// Returns the result of `apply`.
    async fn commit<T: Send + 'static>(
        &self,
        stream: &Arc<Stream>,
        change: Change<'_>,
        apply: impl FnOnce(&Stream, Position) -> T + Send + 'static,
    ) -> Result<T, LogError> {
        let payload = Record { stream: stream.number, change }.encode();
        let room = self.reserve(payload.len()).await?;
        let (outcome, applied) = oneshot::channel();
        let stream = Arc::clone(stream);
        self.journal.submit(room, payload, move |committed| {
            // The caller has gone. The change is committed.
            let _ = outcome.send(committed.map(|at| apply(&stream, at)));
        });
        received(applied).await
    }

    /// Reads the entries of some batches.
    async fn entries(
        self: &Arc<Self>,
        stream: &Stream,
        batches: Vec<Placed>,
    ) -> Result<Vec<Entry>, LogError> {
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let read = move |journal: &Journal| {
            let mut entries = Vec::new();
            for Placed { first, at } in batches {
                let bytes = journal.read(at)?;
                entries.extend(decode(&bytes, first)?.into_entries());
            }
            Ok(entries)
        };
        self.read_back(stream, read).await
    }

    /// Reads records on a thread that may block, because they may not be in the system's cache.
    async fn read_back<T: Send + 'static>(
        self: &Arc<Self>,
        stream: &Stream,
        read: impl FnOnce(&Journal) -> Result<T, BadRecord> + Send + 'static,
    ) -> Result<T, LogError> {
        let shared = Arc::clone(self);
        let reading = spawn_blocking(move || read(&shared.journal));
        match reading.await.map_err(LogError::unavailable)? {
            Ok(value) => Ok(value),
            // The stream was removed meanwhile.
            Err(BadRecord::Read(ReadError::Gone { .. })) => Err(LogError::NotFound(stream.id)),
            Err(error) => {
                tracing::error!(generation.id = %stream.id, %error, "cannot read a generation");
                match error {
                    BadRecord::Read(ReadError::Io { .. })
                    | BadRecord::Entries(
                        crate::record::DecodeError::Version(_) | crate::record::DecodeError::Event(_),
                    ) => Err(LogError::unavailable(error)),
                    _ => Err(LogError::damaged(error)),
                }
            }
        }
    }
}

fn metadata(journal: &Journal, at: Position) -> Result<Bytes, BadRecord> {
    let record = Bytes::from(journal.read(at)?);
    let Change::Created { metadata, .. } = Record::decode(&record)?.change else {
        return Err(BadRecord::Other);
    };
    Ok(record.slice_ref(metadata))
}

fn request(journal: &Journal, at: Position) -> Result<Bytes, BadRecord> {
    let record = Bytes::from(journal.read(at)?);
    let Change::Request(request) = Record::decode(&record)?.change else { return Err(BadRecord::Other) };
    Ok(record.slice_ref(request))
}

fn decode(record: &[u8], first: Seq) -> Result<Batch, BadRecord> {
    let Change::Appended(appended) = Record::decode(record)?.change else { return Err(BadRecord::Other) };
    let batch = Batch::decode(appended.entries)?;
    if batch.first == first { Ok(batch) } else { Err(BadRecord::Other) }
}

/// Waits for the outcome of a record.
async fn received<T>(outcome: oneshot::Receiver<Result<T, JournalError>>) -> Result<T, LogError> {
    match outcome.await {
        Ok(committed) => committed.map_err(LogError::unavailable),
        Err(stopped) => Err(LogError::unavailable(stopped)),
    }
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
enum BadRecord {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Record(#[from] DecodeError),
    #[error(transparent)]
    Entries(#[from] crate::record::DecodeError),
    #[error("a record of the token log is not the one that was looked for")]
    Other,
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its files cannot be read or written, or a newer version wrote them.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// A newer version has written to it. Upgrade, or use the version that wrote it.
    #[error(
        "the token log has records of format {version}, which this version of tokenwire does not know: upgrade"
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
