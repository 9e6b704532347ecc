//! A log, a writer or a queue that differs from a sound one in a few methods.
//!
//! A test states the difference in the hooks. Every other method of the port goes to the implementation below, so a change
//! of a port changes this file and few tests.

use std::{fmt, num::NonZeroUsize, ops::Deref};

use async_trait::async_trait;
use futures::future::{BoxFuture, pending};
use tokenwire_core::{
    Attempt, Event, GenerationId, Job, JobQueue, Lease, LogError, LogWriter, QueueError, Seq, Timestamp,
    TokenLog,
    token_log::{Attempts, Cancellation, Created, JobClaim, Ownership, Page, Prefix, StreamSpec, Wakeups},
};

/// Writes the methods of [`TokenLog`] that take an id into the hooks and into the log with hooks.
macro_rules! log_with_hooks {
    ($($call:ident: $method:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        /// A method of [`TokenLog`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum LogCall { OpenWriter, TakeOver, Ready, $($call),* }

        /// How a [`Log`] differs from the one below it.
        #[async_trait]
        pub trait LogHooks: fmt::Debug + Send + Sync + 'static {
            /// The log below.
            fn log(&self) -> &dyn TokenLog;

            /// Runs in place of every method; `call` runs the method. Only [`TokenLog::ready`] has no id.
            async fn around<T: Send>(
                &self,
                _method: LogCall,
                _id: Option<GenerationId>,
                call: BoxFuture<'_, Result<T, LogError>>,
            ) -> Result<T, LogError> {
                call.await
            }

            /// Wraps the writer of a stream that was opened.
            fn opened(&self, _id: GenerationId, writer: Box<dyn LogWriter>) -> Box<dyn LogWriter> {
                writer
            }

            async fn open_writer(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
                Ok(self.opened(id, self.log().open_writer(id).await?))
            }

            async fn take_over(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
                Ok(self.opened(id, self.log().take_over(id).await?))
            }

            fn may_have_lost(&self) -> bool {
                self.log().may_have_lost()
            }

            $(async fn $method(&self, id: GenerationId, $($arg: $type),*) -> Result<$answer, LogError> {
                self.log().$method(id, $($arg),*).await
            })*
        }

        #[async_trait]
        impl<H: LogHooks> TokenLog for Log<H> {
            async fn open_writer(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
                self.around(LogCall::OpenWriter, Some(id), self.0.open_writer(id)).await
            }

            async fn take_over(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
                self.around(LogCall::TakeOver, Some(id), self.0.take_over(id)).await
            }

            fn may_have_lost(&self) -> bool {
                self.0.may_have_lost()
            }

            async fn ready(&self) -> Result<(), LogError> {
                self.around(LogCall::Ready, None, self.log().ready()).await
            }

            $(async fn $method(&self, id: GenerationId, $($arg: $type),*) -> Result<$answer, LogError> {
                self.around(LogCall::$call, Some(id), self.0.$method(id, $($arg),*)).await
            })*
        }
    };
}

log_with_hooks! {
    Create: create(spec: &StreamSpec) -> Created;
    Read: read(after: Seq, limit: NonZeroUsize) -> Page;
    Spec: spec() -> StreamSpec;
    Wakeups: wakeups() -> Wakeups;
    Cancel: cancel() -> ();
    TouchPresence: touch_presence() -> ();
    Remove: remove() -> ();
    ClaimJob: claim_job() -> JobClaim;
    JobStored: job_stored() -> ();
}

/// A log with hooks. It also has the methods of the hooks' own type.
#[derive(Clone, Debug)]
pub struct Log<H>(pub H);

impl<H> Deref for Log<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.0
    }
}

/// How a [`Writer`] differs from the one below it. What they do not override, [`LogWriter`] provides.
#[async_trait]
pub trait WriterHooks: fmt::Debug + Send + 'static {
    async fn record_attempts(&mut self, attempts: Attempts, ownership: Ownership) -> Result<(), LogError>;

    async fn append(&mut self, batch: &[Event]) -> Result<Seq, LogError>;

    /// Returns what [`Self::append`] would when the batch is in the stream already.
    async fn submit(&mut self, batch: &[Event]) -> Result<Option<Seq>, LogError> {
        self.append(batch).await.map(Some)
    }

    /// Returns `None` when nothing was submitted.
    async fn settle(&mut self) -> Result<Option<Seq>, LogError> {
        Ok(None)
    }

    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError>;
}

/// A writer with hooks. It states the same facts as the writer below stated when it was wrapped.
#[derive(Debug)]
pub struct Writer<H> {
    pub attempt: Attempt,
    pub start_by: Timestamp,
    pub so_far: Prefix,
    pub attempts: Attempts,
    pub cancellation: Cancellation,
    last_seq: Seq,
    hooks: H,
}

impl<H> Writer<H> {
    /// Wraps `writer`. The hooks own it.
    pub fn new(writer: Box<dyn LogWriter>, hooks: impl FnOnce(Box<dyn LogWriter>) -> H) -> Self {
        Self {
            attempt: writer.attempt(),
            start_by: writer.start_by(),
            so_far: writer.so_far().clone(),
            attempts: writer.attempts(),
            cancellation: writer.cancellation().clone(),
            last_seq: Seq::START,
            hooks: hooks(writer),
        }
    }
}

#[async_trait]
impl<H: WriterHooks> LogWriter for Writer<H> {
    fn attempt(&self) -> Attempt {
        self.attempt
    }

    fn start_by(&self) -> Timestamp {
        self.start_by
    }

    fn so_far(&self) -> &Prefix {
        &self.so_far
    }

    fn attempts(&self) -> Attempts {
        self.attempts
    }

    async fn record_attempts(&mut self, attempts: Attempts, ownership: Ownership) -> Result<(), LogError> {
        self.hooks.record_attempts(attempts, ownership).await
    }

    fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    async fn append(&mut self, batch: &[Event]) -> Result<Seq, LogError> {
        self.last_seq = self.hooks.append(batch).await?;
        Ok(self.last_seq)
    }

    async fn submit(&mut self, batch: &[Event]) -> Result<(), LogError> {
        self.last_seq = self.hooks.submit(batch).await?.unwrap_or(self.last_seq);
        Ok(())
    }

    async fn settle(&mut self) -> Result<Seq, LogError> {
        self.last_seq = self.hooks.settle().await?.unwrap_or(self.last_seq);
        Ok(self.last_seq)
    }

    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError> {
        self.hooks.seal(last).await
    }
}

/// How a [`Queue`] differs from the one below it.
#[async_trait]
pub trait QueueHooks: fmt::Debug + Send + Sync + 'static {
    /// The queue below. By default one that accepts every job and delivers none.
    fn queue(&self) -> &dyn JobQueue {
        &NoWorkers
    }

    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        self.queue().enqueue(job).await
    }

    fn waiting(&self) -> usize {
        self.queue().waiting()
    }

    async fn lease(&self) -> Result<Lease, QueueError> {
        self.queue().lease().await
    }

    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        self.queue().dead_letter().await
    }

    async fn ready(&self) -> Result<(), QueueError> {
        self.queue().ready().await
    }
}

/// A queue with hooks.
#[derive(Clone, Debug, Default)]
pub struct Queue<H>(pub H);

impl<H> Deref for Queue<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.0
    }
}

#[async_trait]
impl<H: QueueHooks> JobQueue for Queue<H> {
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        self.0.enqueue(job).await
    }

    fn waiting(&self) -> usize {
        self.0.waiting()
    }

    async fn lease(&self) -> Result<Lease, QueueError> {
        self.0.lease().await
    }

    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        self.0.dead_letter().await
    }

    async fn ready(&self) -> Result<(), QueueError> {
        self.0.ready().await
    }
}

#[derive(Debug)]
struct NoWorkers;

#[async_trait]
impl JobQueue for NoWorkers {
    async fn enqueue(&self, _: &Job) -> Result<(), QueueError> {
        Ok(())
    }

    fn waiting(&self) -> usize {
        0
    }

    async fn lease(&self) -> Result<Lease, QueueError> {
        pending().await
    }

    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        pending().await
    }

    async fn ready(&self) -> Result<(), QueueError> {
        Ok(())
    }
}
