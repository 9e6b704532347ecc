//! The port to the log of streams: the truth about every generation (I7).
//!
//! A stream has one write side, which belongs to its newest [`LogWriter`] (I3), and any number of readers, who read by
//! cursor and are woken by hints. The log keeps what it accepted for its retention time, from the first entry to the
//! last, then forgets the stream as a whole.
//!
//! ```text
//!  seq      1          2        3        4       5         6
//!        Started{1}  Delta    Delta  Started{2} Delta   Finished     sealed: nothing may follow
//!                             ↑ cursor 3: read(after 3) gives 4, 5, 6
//! ```
//!
//! Framing, waiting in a loop and retrying are not here: see [`crate::follow`] and [`crate::pump`].

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

/// How long a reader counts as there after it has said so, before the stream's grace begins; followers say so twice as
/// often. See [`TokenLog::touch_presence`].
pub const PRESENCE_TTL: Duration = Duration::from_secs(5);

/// How long a writer may be silent before it counts as gone: three times as long as [`crate::pump`] ever is. A worker that
/// was killed is replaced after this time; one that lives is left alone, whoever else was given its job.
pub const WRITER_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long a claim on storing a job holds. Longer than storing one may take.
pub const CLAIM_TIME: Duration = Duration::from_secs(6);

/// How long after a job was stored it is not stored again.
pub const STORED_TIME: Duration = Duration::from_secs(60);

/// A durable log of streams. Implementations pass `testkit::conformance::token_log`.
///
/// Every method may fail with [`LogError::Unavailable`]: nothing is known about the outcome, and trying again later is
/// right. Every method may be dropped at any await; what it began then happens wholly or not at all.
#[async_trait]
pub trait TokenLog: fmt::Debug + Send + Sync + 'static {
    /// Creates an empty stream, or finds the one that is there. Durable when it returns. Creating twice is creating once:
    /// what the first one fixed stands.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]: try again with the same arguments.
    async fn create(&self, id: GenerationId, spec: &StreamSpec) -> Result<Created, LogError>;

    /// Opens the write side as the next attempt, and fences every earlier writer: from the moment this succeeds their
    /// appends fail (I3). The number of the attempt is durable. It deposes an owner that may be alive: for a caller that seals
    /// the stream at once.
    ///
    /// # Errors
    /// [`LogError::NotFound`], or [`LogError::Sealed`] when there is nothing left to write.
    async fn open_writer(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError>;

    /// As [`Self::open_writer`], but only when the stream has no owner ([`Phase::has_owner`]). Of several callers at the same
    /// time, one opens the stream, and the others get [`LogError::Fenced`].
    ///
    /// # Errors
    /// As [`Self::open_writer`], and [`LogError::Fenced`] while the stream has an owner.
    async fn take_over(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError>;

    /// Ends a stream of which [`LogError::Damaged`] was told, with this terminal event behind what is left of it. A reader that
    /// has seen the rest learns of the end from it; any other finds the damage first. Fences every writer, as an opening does.
    ///
    /// # Errors
    /// [`LogError::NotFound`], or [`LogError::Sealed`] when it has an end.
    async fn seal_damaged(&self, id: GenerationId, last: &Event) -> Result<(), LogError> {
        self.open_writer(id).await?.seal(last).await.map(drop)
    }

    /// Reads up to `limit` entries after the cursor, in order and without a gap, and says how the stream stands. Returns
    /// fewer, or none, when there are no more yet. It shows only what is durable (I2).
    ///
    /// # Errors
    /// [`LogError::NotFound`] when no such stream is kept.
    async fn read(&self, id: GenerationId, after: Seq, limit: NonZeroUsize) -> Result<Page, LogError>;

    /// What the stream was created with, its metadata too: for as long as it is kept, however far it has come.
    ///
    /// # Errors
    /// [`LogError::NotFound`] when no such stream is kept.
    async fn spec(&self, id: GenerationId) -> Result<StreamSpec, LogError>;

    /// Starts to listen for what is appended from now on. To miss nothing, take the wake-ups first and read second.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]. A stream that does not exist is no error: no hint ever comes.
    async fn wakeups(&self, id: GenerationId) -> Result<Wakeups, LogError>;

    /// Tells the writer, now or when one opens, to stop. Durable when it returns. Idempotent, and without effect on a
    /// sealed stream.
    ///
    /// # Errors
    /// [`LogError::NotFound`] when no such stream is kept.
    async fn cancel(&self, id: GenerationId) -> Result<(), LogError>;

    /// Says that somebody reads the stream now. Without another call the audience counts as gone once
    /// [`PRESENCE_TTL`] and then the stream's grace have passed; creating a stream counts as a call. Means nothing for
    /// [`OnDisconnect::Detached`] and for a sealed or unknown stream.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; the next call, some seconds later, makes up for it.
    async fn touch_presence(&self, id: GenerationId) -> Result<(), LogError>;

    /// Forgets a stream, whatever it holds: for an owner who wants the answer gone. Its id is free from now on. Whoever has
    /// it open for writing finds it gone, whenever they come back, and never writes to it again, nor to another stream that
    /// has its id by then; whoever listens is woken.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]. A stream that does not exist is no error.
    async fn remove(&self, id: GenerationId) -> Result<(), LogError>;

    /// Takes on the task of storing the job of a stream in the queue once more. Of many callers, on any replica, at most one
    /// gets [`JobClaim::Granted`] within [`CLAIM_TIME`]; a stream's creator has that claim when it creates the stream. Whether
    /// the stream needs a job is for the caller to decide.
    ///
    /// # Errors
    /// [`LogError::NotFound`] when no such stream is kept.
    async fn claim_job(&self, id: GenerationId) -> Result<JobClaim, LogError>;

    /// Notes that the job of the stream is in the queue: no caller gets the claim until [`STORED_TIME`] has passed.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; the job may be stored once more than necessary, which does no harm.
    async fn job_stored(&self, id: GenerationId) -> Result<(), LogError>;

    /// Whether the log may lately have lost what it had acknowledged: its server was replaced or restarted a moment ago. A
    /// stream that is not found is then worth waiting for, because its writer may put it back. Costs nothing.
    fn may_have_lost(&self) -> bool {
        false
    }

    /// Whether the log does now what submitting, appending and following need.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] with the reason, for people.
    async fn ready(&self) -> Result<(), LogError>;
}

/// The write side of one stream, for as long as no newer attempt opens it.
#[async_trait]
pub trait LogWriter: fmt::Debug + Send {
    /// Which opening of the stream this is.
    fn attempt(&self) -> Attempt;

    /// From [`StreamSpec::start_by`]: after this time the first attempt does not begin any more.
    fn start_by(&self) -> Timestamp;

    /// Which stream of its id this is.
    fn epoch(&self) -> Epoch {
        Epoch::of(self.start_by())
    }

    /// What earlier attempts committed.
    fn so_far(&self) -> &Prefix;

    /// The state of the attempts before this one, as [`Self::record_attempts`] noted it last. The default before that.
    fn attempts(&self) -> Attempts;

    /// Notes the state of the attempts, in place of the earlier note. It is a field of the stream and no entry: readers see
    /// only [`Phase::Running::waiting_until`] of it. Durable when it returns. With [`Ownership::Released`] the next attempt
    /// need not wait for this writer, which writes nothing after that. Listeners of the stream are woken when the generation
    /// waits for its model. May be called after an append that was dropped.
    ///
    /// # Errors
    /// As [`Self::append`]; after [`LogError::Unavailable`], call again.
    async fn record_attempts(&mut self, attempts: Attempts, ownership: Ownership) -> Result<(), LogError>;

    /// Fires when the generation is told to stop, or when its audience has gone. Checked by every append, and fired in
    /// between where the log can; whether there is an audience, at least by every empty one.
    fn cancellation(&self) -> &Cancellation;

    /// Appends one batch atomically and returns the seq of the last entry of the stream. Durable to the log's sync level
    /// when it returns, and only then shown to readers (I2). The batch must hold no terminal event. An empty batch appends
    /// nothing, and still checks fence and [`Self::cancellation`].
    ///
    /// If the future is dropped the batch is either wholly in the stream or not at all.
    ///
    /// # Errors
    /// [`LogError::Fenced`] when a newer attempt owns the stream, [`LogError::Sealed`] or [`LogError::NotFound`]: stop.
    /// [`LogError::Unavailable`]: the outcome is not known; call again **with the same batch**, which is then in the
    /// stream once.
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

    /// Appends the terminal event: the stream is sealed for ever (I1). Atomic and durable as [`Self::append`].
    ///
    /// # Errors
    /// As [`Self::append`]; after [`LogError::Unavailable`], call again with the same event. Once it has returned `Ok`,
    /// every further call is [`LogError::Sealed`].
    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError>;
}

/// What is fixed about a stream when it is created. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// Of the request that the stream answers.
    pub fingerprint: Fingerprint,
    /// Who created it. [`Caller::Anonymous`] in streams of older versions.
    pub caller: Caller,
    /// What happens once nobody reads.
    pub on_disconnect: OnDisconnect,
    /// When it was created, by its creator's clock.
    pub created_at: Timestamp,
    /// After this time a stream that no attempt has opened will not begin any more (I6).
    pub start_by: Timestamp,
    /// After this time a stream that is not sealed has no worker any more (I10).
    pub end_by: Timestamp,
    /// What whoever created it wants to read again, at most [`Self::MAX_METADATA_BYTES`]. It means nothing to the log. Often
    /// empty.
    pub metadata: Bytes,
    /// The request, as [`crate::GenerateRequest::encode`] gives it: its job can be made from it again. It means nothing to the
    /// log, which keeps it until the stream is sealed; afterwards it may be empty. Empty in streams of older versions.
    pub request: Bytes,
}

impl StreamSpec {
    /// The largest metadata: as large as a request body is by default. Front ends see to it.
    pub const MAX_METADATA_BYTES: usize = 1024 * 1024;

    /// Which stream of its id this is.
    pub fn epoch(&self) -> Epoch {
        Epoch::of(self.start_by)
    }
}

/// Metadata and requests are private: a log line shows how large they are.
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

/// What happens to a generation once its last reader has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    /// It goes on to its end.
    Detached,
    /// It is cancelled after this time without a reader.
    CancelAfter(Duration),
}

/// What [`TokenLog::create`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The stream did not exist; now it does.
    New,
    /// The stream was there, created for the request with this fingerprint. Nothing has changed.
    Existing(Fingerprint),
}

/// Some entries of a stream, and how the stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries right after the cursor.
    pub entries: Vec<Entry>,
    /// The last entry of the stream, whether or not it is on this page; [`Seq::START`] while there is none.
    pub last_seq: Seq,
    /// How far the stream has come.
    pub phase: Phase,
    /// Which stream of its id this is.
    pub epoch: Epoch,
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No attempt has opened it yet.
    Queued {
        /// When it was created.
        created_at: Timestamp,
        /// From [`StreamSpec::start_by`].
        start_by: Timestamp,
    },
    /// An attempt has opened it, and it is not sealed.
    Running {
        /// From [`StreamSpec::end_by`].
        end_by: Timestamp,
        /// How long ago the owner was last heard of: its opening or any append, an empty one too. By the log's own clock.
        /// A writer that was given up counts as silent for ever, where the log can know.
        silent_for: Duration,
        /// Until when the generation waits for its model, which is busy or cannot be reached. From
        /// [`Attempts::waiting_until`].
        waiting_until: Option<Timestamp>,
    },
    /// Its last entry is terminal.
    Sealed,
}

impl Phase {
    /// Whether somebody writes to the stream now.
    pub fn has_owner(&self) -> bool {
        matches!(self, Self::Running { silent_for, .. } if *silent_for < WRITER_TIMEOUT)
    }
}

/// The state of the attempts of a generation, which decides whether there is another attempt, and when. A worker notes it
/// before it asks the model, so that an attempt during which its process dies is counted too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How many attempts in a row asked the model and ended without getting further than [`Self::best`], the one that is
    /// under way included. An attempt that was given back, or whose model could not be asked, is none.
    pub without_progress: u32,
    /// The furthest that the answer had come when the last attempt began, in bytes as [`Prefix::size`] counts them: what an
    /// attempt has to exceed.
    pub best: u64,
    /// Whether an attempt since the last progress asks the model and its end is not noted: it runs, or its process has died.
    pub asking: bool,
    /// When the last attempt began, by its worker's clock.
    pub began_at: Timestamp,
    /// How often in a row the model was busy or could not be reached.
    pub model_waits: u32,
    /// When the model is asked again, where it was busy or could not be reached.
    pub waiting_until: Option<Timestamp>,
}

/// What becomes of a writer that has noted the state of the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It goes on writing.
    Kept,
    /// It is done: the next attempt need not wait until this one is silent.
    Released,
}

/// What [`TokenLog::claim_job`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobClaim {
    /// The caller stores the job, and says so with [`TokenLog::job_stored`].
    Granted,
    /// Another caller is storing it. If that one fails, the claim is free after [`CLAIM_TIME`]: ask again.
    Taken,
    /// The job was stored less than [`STORED_TIME`] ago.
    Stored,
}

/// What earlier attempts committed to a stream: where a new one goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// The text that readers have, without what was superseded.
    pub text: String,
    /// Its tokens, where the model knew them.
    pub tokens: Vec<TokenId>,
    /// Whether there are pieces of reasoning or of tool calls too.
    pub beyond_text: bool,
    /// How much the answer holds that still counts: text, reasoning and pieces of tool calls, in bytes.
    pub size: u64,
    /// When the first attempt began; `None` before it.
    pub started_at: Option<Timestamp>,
    /// The region of the last attempt that began, where it had one.
    pub last_region: Option<String>,
}

impl Prefix {
    /// Whether the model has said nothing yet, or nothing that still counts.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.tokens.is_empty() && !self.beyond_text
    }

    /// Folds one more entry in. Every adapter builds its prefix with this, so that they agree.
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

/// A request to stop that reaches the one who runs a generation, with its cause.
#[derive(Clone, Debug, Default)]
pub struct Cancellation {
    token: CancellationToken,
    cause: Arc<std::sync::OnceLock<CancelCause>>,
}

impl Cancellation {
    /// Fires. The first cause stands.
    pub fn cancel(&self, cause: CancelCause) {
        let _ = self.cause.set(cause);
        self.token.cancel();
    }

    /// The cause, once it has fired.
    pub fn cause(&self) -> Option<CancelCause> {
        self.cause.get().copied()
    }

    /// Waits until it fires. May be dropped and called again.
    pub async fn cancelled(&self) -> CancelCause {
        self.token.cancelled().await;
        // Set before the token fires; the fallback is never seen.
        self.cause().unwrap_or(CancelCause::Requested)
    }
}

/// Wake-ups for one stream: hints that there is more to read (I7).
#[derive(Debug)]
pub struct Wakeups {
    hints: broadcast::Receiver<Hint>,
}

impl Wakeups {
    /// Listens on a channel into which the adapter sends a hint for everything it makes visible. The channel may be
    /// lossy in every way.
    pub fn new(hints: broadcast::Receiver<Hint>) -> Self {
        Self { hints }
    }

    /// Waits for the next hint. May be dropped and called again. Waits for ever once the stream's channel is gone: the
    /// follower's own slow recheck is underneath.
    pub async fn next(&mut self) -> Hint {
        match self.hints.recv().await {
            Ok(hint) => hint,
            Err(broadcast::error::RecvError::Lagged(_)) => Hint::Look,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// That there may be more to read.
#[derive(Clone, Debug)]
pub enum Hint {
    /// Read the log.
    Look,
    /// These entries were appended to the stream; they are consecutive.
    Appended {
        /// Which stream of its id they belong to. A hint may be about the next stream of an id, or about the last one.
        epoch: Epoch,
        /// The entries.
        entries: Arc<[Entry]>,
    },
}

/// Why the log did not do what it was asked. One variant for each thing that a caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No such stream is kept: it never was, or its retention time is over.
    #[error("there is no generation {0}")]
    NotFound(GenerationId),
    /// A newer attempt owns the stream. Stop, and drop the lease.
    #[error("a newer attempt owns the stream")]
    Fenced,
    /// The stream is sealed: there is nothing left to write.
    #[error("the stream is sealed")]
    Sealed,
    /// The stream exists, but its data was lost or changed by something else and cannot be read any more. It does not come
    /// back: its readers get `lost`.
    #[error("the stream is damaged")]
    Damaged(#[source] BoxError),
    /// The log cannot be reached or cannot write. What was asked may or may not have happened. Try again later.
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
