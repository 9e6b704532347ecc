//! The port to the log of streams: the truth about every generation (I7).
//!
//! A stream has one writer, the newest [`LogWriter`] (I3), and any number of readers. Readers read by cursor and are woken
//! by hints. The log keeps a stream for its retention time, then removes it as a whole.
//!
//! ```text
//!  seq      1          2        3        4       5         6
//!        Started{1}  Delta    Delta  Started{2} Delta   Finished     sealed: nothing may follow
//!                             ↑ cursor 3: read(after 3) gives 4, 5, 6
//! ```
//!
//! Not here: framing, waiting in a loop, and retries. See [`crate::follow`] and [`crate::pump`].

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    BoxError,
    caller::Caller,
    clock::Timestamp,
    epoch::Epoch,
    event::{Attempt, CancelCause, Entry, Event, Seq, TextSoFar, TokenId},
    id::GenerationId,
    request::Fingerprint,
};

/// How long a reader counts as present after [`TokenLog::touch_presence`]. Then the stream's grace time begins. Followers
/// call it twice in this time.
pub const PRESENCE_TTL: Duration = Duration::from_secs(5);

/// How long a writer may be silent before another worker takes over. [`crate::pump`] writes or checks three times in this
/// time.
pub const WRITER_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long a claim on storing a job is valid. Storing a job takes less.
pub const CLAIM_TIME: Duration = Duration::from_secs(6);

/// How long after a job was stored no caller gets the claim again.
pub const STORED_TIME: Duration = Duration::from_secs(60);

/// A durable log of streams. Implementations pass `testkit::conformance::token_log`.
///
/// Every method can fail with [`LogError::Unavailable`]: the outcome is unknown, and the caller retries later. Every future
/// can be dropped. Its work then happens completely or not at all.
#[async_trait]
pub trait TokenLog: fmt::Debug + Send + Sync + 'static {
    /// Creates an empty stream, or finds the existing one. Durable when it returns. Idempotent: the spec of the first call
    /// stays.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]: retry with the same arguments.
    async fn create(&self, id: GenerationId, spec: &StreamSpec) -> Result<Created, LogError>;

    /// Opens the stream for writing as the next attempt, and fences every earlier writer: their appends fail from now on
    /// (I3). The number of the attempt is durable. This also fences a writer that is alive, so only callers that seal the
    /// stream at once use it. Workers use [`Self::take_over`].
    ///
    /// # Errors
    /// [`LogError::NotFound`], or [`LogError::Sealed`].
    async fn open_writer(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError>;

    /// As [`Self::open_writer`], but only when the stream has no owner ([`Phase::has_owner`]). Of several concurrent callers
    /// one opens the stream, and the others get [`LogError::Fenced`].
    ///
    /// # Errors
    /// As [`Self::open_writer`], and [`LogError::Fenced`] while the stream has an owner.
    async fn take_over(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError>;

    /// Seals a stream that returned [`LogError::Damaged`]: appends this terminal event after the entries that are left. A
    /// reader that has seen all other entries gets it. Other readers get the damage. Fences every writer.
    ///
    /// # Errors
    /// [`LogError::NotFound`], or [`LogError::Sealed`].
    async fn seal_damaged(&self, id: GenerationId, last: &Event) -> Result<(), LogError> {
        self.open_writer(id).await?.seal(last).await.map(drop)
    }

    /// Reads up to `limit` entries after the cursor, in order and without a gap, and the phase of the stream. Returns only
    /// durable entries (I2).
    ///
    /// # Errors
    /// [`LogError::NotFound`].
    async fn read(&self, id: GenerationId, after: Seq, limit: NonZeroUsize) -> Result<Page, LogError>;

    /// What the stream was created with, in every phase. Only [`StreamSpec::request`] may be empty after the seal.
    ///
    /// # Errors
    /// [`LogError::NotFound`].
    async fn spec(&self, id: GenerationId) -> Result<StreamSpec, LogError>;

    /// Subscribes to hints about appends from now on. To miss nothing, subscribe first and read second.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]. A stream that does not exist is no error. It gives no hints.
    async fn wakeups(&self, id: GenerationId) -> Result<Wakeups, LogError>;

    /// Tells the current writer, or the next one, to stop. Durable when it returns. Idempotent. No effect on a sealed stream.
    ///
    /// # Errors
    /// [`LogError::NotFound`].
    async fn cancel(&self, id: GenerationId) -> Result<(), LogError>;

    /// Records that a reader is present. Without another call the stream counts as without readers after [`PRESENCE_TTL`]
    /// and its grace time. Creating a stream counts as a call. No effect for [`OnDisconnect::Detached`] and for a sealed or
    /// unknown stream.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]. The next call makes up for it.
    async fn touch_presence(&self, id: GenerationId) -> Result<(), LogError>;

    /// Removes a stream and its entries. Its id is free from now on. A writer of the removed stream gets
    /// [`LogError::NotFound`], at any later time, and never writes to another stream that has the id by then. Subscribers
    /// are woken.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]. A stream that does not exist is no error.
    async fn remove(&self, id: GenerationId) -> Result<(), LogError>;

    /// Claims the right to store the job of a stream again. Of all callers on all replicas at most one gets
    /// [`JobClaim::Granted`] within [`CLAIM_TIME`]. Creating a stream takes the first claim. The caller decides whether the
    /// stream needs a job.
    ///
    /// # Errors
    /// [`LogError::NotFound`].
    async fn claim_job(&self, id: GenerationId) -> Result<JobClaim, LogError>;

    /// Records that the job of the stream is in the queue. No caller gets the claim until [`STORED_TIME`] has passed.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]. The job may then be stored once more, which is harmless.
    async fn job_stored(&self, id: GenerationId) -> Result<(), LogError>;

    /// Whether the log may recently have lost acknowledged entries, because its server was restarted or replaced. A missing
    /// stream is then worth waiting for: its writer may restore it. No I/O.
    fn may_have_lost(&self) -> bool {
        false
    }

    /// Whether submitting, appending and following work now.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] with the reason, for operators.
    async fn ready(&self) -> Result<(), LogError>;
}

/// The writer of one stream, until a newer attempt opens it.
#[async_trait]
pub trait LogWriter: fmt::Debug + Send {
    /// The number of this attempt.
    fn attempt(&self) -> Attempt;

    /// From [`StreamSpec::start_by`]. The first attempt does not begin after this time.
    fn start_by(&self) -> Timestamp;

    /// Tells this stream from others of its id.
    fn epoch(&self) -> Epoch {
        Epoch::of(self.start_by())
    }

    /// The text and entries that earlier attempts committed.
    fn so_far(&self) -> &Prefix;

    /// The last state recorded by [`Self::record_attempts`] when this writer was opened, or the default.
    fn attempts(&self) -> Attempts;

    /// Replaces the recorded state of the attempts. It is a field of the stream, not an entry: readers see only
    /// [`Phase::Running::waiting_until`]. Durable when it returns. After [`Ownership::Released`] this writer writes nothing,
    /// and the next attempt does not wait for it. Subscribers are woken when the generation waits for its model. Can be
    /// called after an append was dropped.
    ///
    /// # Errors
    /// As [`Self::append`]. After [`LogError::Unavailable`], call again.
    async fn record_attempts(&mut self, attempts: Attempts, ownership: Ownership) -> Result<(), LogError>;

    /// Fires when a client stops the generation, or when it has no readers left. Every append checks for a stop; some logs also
    /// fire between appends. At least every empty append checks for readers.
    fn cancellation(&self) -> &Cancellation;

    /// Appends one batch atomically and returns the seq of the last entry of the stream. Durable to the log's sync level
    /// when it returns, and only then shown to readers (I2). The batch must hold no terminal event. An empty batch appends
    /// nothing, and still checks fence and [`Self::cancellation`].
    ///
    /// If the future is dropped, the batch is either completely in the stream or not at all.
    ///
    /// # Errors
    /// [`LogError::Fenced`] when a newer attempt owns the stream, [`LogError::Sealed`] or [`LogError::NotFound`]: stop.
    /// [`LogError::Unavailable`]: the outcome is unknown. Call again **with the same batch**; the stream then has it once.
    async fn append(&mut self, batch: &[Event]) -> Result<Seq, LogError> {
        self.submit(batch).await?;
        self.settle().await
    }

    /// Begins an append. [`Self::settle`] gives its outcome. A caller with nothing else to append is not woken when the
    /// batch is durable. Nothing else may be appended before it is settled. A log without such a middle may append at once.
    ///
    /// # Errors
    /// As [`Self::append`].
    async fn submit(&mut self, batch: &[Event]) -> Result<(), LogError>;

    /// Waits until what was submitted is in the stream, and returns the seq of the last entry of the stream. Returns at once
    /// when nothing was submitted. May be dropped and called again.
    ///
    /// # Errors
    /// As [`Self::append`]; after [`LogError::Unavailable`], append the same batch.
    async fn settle(&mut self) -> Result<Seq, LogError>;

    /// Appends the terminal event and seals the stream (I1). Atomic and durable as [`Self::append`].
    ///
    /// # Errors
    /// As [`Self::append`]. After [`LogError::Unavailable`], call again with the same event. After `Ok`, every further call
    /// returns [`LogError::Sealed`].
    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError>;
}

/// The properties of a stream, fixed at its creation. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// The fingerprint of the request.
    pub fingerprint: Fingerprint,
    /// Who created it. [`Caller::Anonymous`] in streams of older versions.
    pub caller: Caller,
    /// What happens when the last reader has left.
    pub on_disconnect: OnDisconnect,
    /// When it was created, by the clock of its creator.
    pub created_at: Timestamp,
    /// The first attempt does not begin after this time (I6).
    pub start_by: Timestamp,
    /// No worker runs the generation after this time. A stream that is not sealed by then is lost (I10).
    pub end_by: Timestamp,
    /// Data of the front end, at most [`Self::MAX_METADATA_BYTES`]. Opaque to the log, and often empty.
    pub metadata: Bytes,
    /// The request, as [`crate::GenerateRequest::encode`] returns it, to recreate the job from. Opaque to the log, which
    /// keeps it until the stream is sealed. Afterwards it may be empty. Empty in streams of older versions.
    pub request: Bytes,
}

impl StreamSpec {
    /// The maximum size of the metadata, in bytes. Front ends check it.
    pub const MAX_METADATA_BYTES: usize = 1024 * 1024;

    /// Tells this stream from others of its id.
    pub fn epoch(&self) -> Epoch {
        Epoch::of(self.start_by)
    }
}

/// Metadata and requests are private: only their sizes are printed.
impl fmt::Debug for StreamSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fingerprint, caller, on_disconnect, created_at, start_by, end_by, metadata, request } =
            self;
        f.debug_struct("StreamSpec")
            .field("fingerprint", fingerprint)
            .field("caller", caller)
            .field("on_disconnect", on_disconnect)
            .field("created_at", created_at)
            .field("start_by", start_by)
            .field("end_by", end_by)
            .field("metadata", &format_args!("{} bytes", metadata.len()))
            .field("request", &format_args!("{} bytes", request.len()))
            .finish()
    }
}

/// What happens to a generation when its last reader has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    /// It runs to its end.
    Detached,
    /// It is cancelled after this time without a reader.
    CancelAfter(Duration),
}

/// The result of [`TokenLog::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The stream was created.
    New,
    /// The stream existed, for the request with this fingerprint. Nothing was changed.
    Existing(Fingerprint),
}

/// Some entries of a stream, and its phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries right after the cursor.
    pub entries: Vec<Entry>,
    /// The seq of the last entry of the stream, on this page or not. [`Seq::START`] for an empty stream.
    pub last_seq: Seq,
    /// The phase of the stream.
    pub phase: Phase,
    /// Tells this stream from others of its id.
    pub epoch: Epoch,
}

/// The phase of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No attempt has opened it yet.
    Queued {
        /// When it was created.
        created_at: Timestamp,
        /// From [`StreamSpec::start_by`].
        start_by: Timestamp,
    },
    /// An attempt has opened it. It is not sealed.
    Running {
        /// From [`StreamSpec::end_by`].
        end_by: Timestamp,
        /// How long ago the owner opened the stream or appended last (an empty append counts), by the log's own clock.
        /// [`Duration::MAX`] when the log knows that the writer was dropped or released.
        silent_for: Duration,
        /// From [`Attempts::waiting_until`].
        waiting_until: Option<Timestamp>,
    },
    /// Its last entry is terminal.
    Sealed,
}

impl Phase {
    /// Whether the stream has a writer that was heard of within [`WRITER_TIMEOUT`].
    pub fn has_owner(&self) -> bool {
        matches!(self, Self::Running { silent_for, .. } if *silent_for < WRITER_TIMEOUT)
    }
}

/// The state of a generation's attempts. It decides whether and when there is another attempt. A worker records it before it
/// asks the model, so that an attempt whose process dies is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How many attempts in a row asked the model and did not exceed [`Self::best`], including the running one. Attempts that
    /// were interrupted, or whose model could not be asked, do not count.
    pub without_progress: u32,
    /// The largest [`Prefix::size`] when an attempt began, in bytes. An attempt makes progress when it exceeds this.
    pub best: u64,
    /// Whether an attempt since the last progress asked the model and its end is not recorded: it runs, or its process died.
    pub asking: bool,
    /// When the last attempt began, by the clock of its worker.
    pub began_at: Timestamp,
    /// How many times in a row the model was busy, unreachable or missing.
    pub model_waits: u32,
    /// When the model is asked again, if the generation waits for it.
    pub waiting_until: Option<Timestamp>,
}

/// Whether a writer keeps the stream after it has recorded the state of the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The writer continues.
    Kept,
    /// The writer is done. The next attempt can open the stream at once.
    Released,
}

/// The result of [`TokenLog::claim_job`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobClaim {
    /// The caller stores the job, then calls [`TokenLog::job_stored`].
    Granted,
    /// Another caller has the claim. It is free again after [`CLAIM_TIME`] if that caller fails.
    Taken,
    /// The job was stored less than [`STORED_TIME`] ago.
    Stored,
}

/// What earlier attempts committed to a stream. A new attempt continues from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// The text, without superseded text.
    pub text: String,
    /// Its tokens, if the model reported them.
    pub tokens: Vec<TokenId>,
    /// Whether there is also reasoning or a part of a tool call.
    pub beyond_text: bool,
    /// The size of text, reasoning and tool calls that are not superseded, in bytes.
    pub size: u64,
    /// When the first attempt began. `None` before it.
    pub started_at: Option<Timestamp>,
    /// The region of the last attempt, if it had one.
    pub last_region: Option<String>,
}

impl Prefix {
    /// Whether there is nothing to continue from.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.tokens.is_empty() && !self.beyond_text
    }

    /// Adds an entry. Every adapter builds its prefix with this.
    pub fn push(&mut self, entry: &Entry) {
        match &entry.event {
            Event::Started { text, region, .. } => {
                self.started_at.get_or_insert(entry.at);
                self.last_region.clone_from(region);
                if *text == TextSoFar::Superseded {
                    self.text.clear();
                    self.tokens.clear();
                    self.beyond_text = false;
                    self.size = 0;
                }
            }
            Event::Delta { text, tokens } => {
                self.text.push_str(text);
                self.tokens.extend_from_slice(tokens);
                self.size += entry.event.content_bytes();
            }
            Event::Reasoning { .. } | Event::ToolCall(_) => {
                self.beyond_text = true;
                self.size += entry.event.content_bytes();
            }
            Event::Finished { .. } | Event::Failed { .. } => {}
        }
    }
}

/// A request to stop a running generation, with its cause.
#[derive(Clone, Debug, Default)]
pub struct Cancellation {
    token: CancellationToken,
    cause: Arc<std::sync::OnceLock<CancelCause>>,
}

impl Cancellation {
    /// Fires. The first cause stays.
    pub fn cancel(&self, cause: CancelCause) {
        let _ = self.cause.set(cause);
        self.token.cancel();
    }

    /// The cause, after it has fired.
    pub fn cause(&self) -> Option<CancelCause> {
        self.cause.get().copied()
    }

    /// Waits until it fires. Can be dropped and called again.
    pub async fn cancelled(&self) -> CancelCause {
        self.token.cancelled().await;
        // The cause is set before the token fires.
        self.cause().unwrap_or(CancelCause::Requested)
    }
}

/// A receiver of hints about one stream (I7).
#[derive(Debug)]
pub struct Wakeups {
    hints: broadcast::Receiver<Hint>,
}

impl Wakeups {
    /// Receives from a channel to which the adapter sends a hint for everything it makes visible. The channel may lose hints.
    pub fn new(hints: broadcast::Receiver<Hint>) -> Self {
        Self { hints }
    }

    /// Waits for the next hint. Can be dropped and called again. Never returns once the channel is closed; followers also
    /// check the log at an interval.
    pub async fn next(&mut self) -> Hint {
        match self.hints.recv().await {
            Ok(hint) => hint,
            Err(broadcast::error::RecvError::Lagged(_)) => Hint::Look,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// A hint that there may be more to read.
#[derive(Clone, Debug)]
pub enum Hint {
    /// Read the log.
    Look,
    /// These consecutive entries were appended to the stream.
    Appended {
        /// The epoch of their stream. A hint can be about an earlier or a later stream of the id.
        epoch: Epoch,
        /// The entries.
        entries: Arc<[Entry]>,
    },
}

/// Why a call failed. Each variant calls for another reaction of the caller.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no such stream: it never existed, it was removed, or its retention time is over.
    #[error("there is no generation {0}")]
    NotFound(GenerationId),
    /// A newer attempt owns the stream. Stop.
    #[error("a newer attempt owns the stream")]
    Fenced,
    /// The stream is sealed. Nothing can be appended.
    #[error("the stream is sealed")]
    Sealed,
    /// The stream exists, but its data was lost or changed from outside and cannot be read. This is permanent: readers get
    /// `lost`.
    #[error("the stream is damaged")]
    Damaged(#[source] BoxError),
    /// The log cannot be reached or cannot write. The outcome is unknown. Retry later.
    #[error("the token log is unavailable")]
    Unavailable(#[source] BoxError),
}

impl LogError {
    /// [`Self::Damaged`] with this cause.
    pub fn damaged(cause: impl Into<BoxError>) -> Self {
        Self::Damaged(cause.into())
    }

    /// [`Self::Unavailable`] with this cause.
    pub fn unavailable(cause: impl Into<BoxError>) -> Self {
        Self::Unavailable(cause.into())
    }
}
