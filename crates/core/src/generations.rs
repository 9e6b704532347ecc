//! The interface for front ends: submit a generation, follow it, look it up, cancel it.

mod admission;

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::admission::{Admission, Place};
use crate::{
    caller::Caller,
    catalogue::ModelNames,
    clock::Clock,
    error::{BoxError, explain},
    event::{CancelCause, Failure, Seq},
    follow::{FollowError, Follower, end, end_given_up, given_up},
    id::GenerationId,
    job::Job,
    job_queue::{JobQueue, QueueError},
    keeper::JobKeeper,
    metrics,
    model::ModelError,
    request::GenerateRequest,
    token_log::{Created, JobClaim, LogError, OnDisconnect, Page, Phase, StreamSpec, TokenLog},
};

/// How long a repeated submission waits for an attempt to begin. Then it stores the job again, unless that was done recently:
/// the first submission may have died between the stream and the job (I6). Storing a job twice is harmless.
const RESUBMIT_AFTER: Duration = Duration::from_secs(2);

/// How often it reads the stream meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How many entries [`Generations::look`] returns at most.
const LOOK: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

/// Added to the running time: to notice the end of the time, and to seal.
const TIME_TO_SEAL: Duration = Duration::from_secs(60);

/// The time limits of a generation.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a job may wait for a worker.
    pub queue_time: Duration,
    /// How long a generation may run, over all attempts. The same value as the workers'.
    pub run_time: Duration,
}

/// Everything that a front end needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Generations {
    log: Arc<dyn TokenLog>,
    queue: Arc<dyn JobQueue>,
    clock: Arc<dyn Clock>,
    models: ModelNames,
    limits: Limits,
    admission: Admission,
    keeper: Arc<JobKeeper>,
}

/// A request to run a generation.
#[derive(Clone)]
pub struct Submission {
    /// The client's own id, which makes submitting idempotent, or a fresh one.
    pub id: GenerationId,
    /// Who submits it. Not part of the request's identity: the caller of the first submission stays.
    pub caller: Caller,
    /// What to generate.
    pub request: GenerateRequest,
    /// What happens when the last reader has left.
    pub on_disconnect: OnDisconnect,
    /// Data of the front end, to be read with [`Generations::spec`]. At most [`StreamSpec::MAX_METADATA_BYTES`]. Not part of
    /// the request's identity: the metadata of the first submission stays.
    pub metadata: Bytes,
}

/// Metadata is private: only its size is printed.
impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, caller, request, on_disconnect, metadata } = self;
        f.debug_struct("Submission")
            .field("id", id)
            .field("caller", caller)
            .field("request", request)
            .field("on_disconnect", on_disconnect)
            .field("metadata", &format_args!("{} bytes", metadata.len()))
            .finish()
    }
}

/// A generation that was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its id.
    pub id: GenerationId,
    /// Whether this submission created it.
    pub how: Submitted,
    /// Its spec, from the first submission. Without the request.
    pub spec: StreamSpec,
}

/// Whether a submission created a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It did. The generation is queued.
    New,
    /// The same submission was accepted before.
    Existing,
}

impl Generations {
    /// Submits to this queue, and reads from this log.
    pub fn new(
        log: Arc<dyn TokenLog>,
        queue: Arc<dyn JobQueue>,
        clock: Arc<dyn Clock>,
        models: ModelNames,
        limits: Limits,
    ) -> Self {
        let keeper = Arc::new(JobKeeper::new(Arc::clone(&log), Arc::clone(&queue), Arc::clone(&clock)));
        Self { log, queue, clock, models, limits, admission: Admission::default(), keeper }
    }

    /// Sets the maximum number of prompts that wait for a worker. Default: no maximum. Clones of this object never exceed it
    /// together. Several processes can exceed it by what they store within 2 s.
    #[must_use]
    pub fn with_waiting_at_most(mut self, bound: usize) -> Self {
        self.admission = Admission::with_bound(bound);
        self
    }

    /// Watches the generations that this object and its clones accept, until `stop` fires, and stores lost jobs again. Without
    /// this only readers notice a lost job.
    pub async fn keep_watch(&self, stop: CancellationToken) {
        self.keeper.keep_watch(stop).await;
    }

    /// The models that can be requested.
    pub fn models(&self) -> &ModelNames {
        &self.models
    }

    /// Accepts a generation. Stream and job are durable when it returns `Ok` (I9), in that order (I6). Idempotent for the same
    /// id and request.
    ///
    /// # Errors
    /// - [`SubmitError::Rejected`]: the model can never answer it.
    /// - [`SubmitError::Conflict`]: the id belongs to another request.
    /// - [`SubmitError::Overloaded`]: too many prompts wait. Nothing was stored.
    /// - [`SubmitError::Unavailable`]: the log or the queue is down. Nothing was accepted. Retry with the same id.
    ///
    /// If the future is dropped, the generation is accepted, or an empty stream expires.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, SubmitError> {
        let Submission { id, caller, request, on_disconnect, metadata } = submission;
        debug_assert!(metadata.len() <= StreamSpec::MAX_METADATA_BYTES, "front ends see to it");
        // First, because it is the cheapest check under overload. Held until the queue counts the job.
        let _place = self.place_for(id).await?;
        match self.models.check(&request).await {
            Ok(()) => {}
            Err(ModelError::Rejected { message }) => return Err(SubmitError::Rejected { message }),
            // Not about the request. The attempts will show.
            Err(error) => tracing::warn!(error = %explain(&error), "a model could not check a request"),
        }
        let now = self.clock.now();
        let start_by = now.after(self.limits.queue_time);
        let fingerprint = request.fingerprint();
        let spec = StreamSpec {
            fingerprint,
            caller,
            on_disconnect,
            created_at: now,
            start_by,
            end_by: start_by.after(self.limits.run_time).after(TIME_TO_SEAL),
            metadata,
            request: request.encode(),
        };
        match self.log.create(id, &spec).await? {
            Created::New => {
                let job = Job { id, request: Some(request), epoch: Some(spec.epoch()) };
                // After an error the stream stays: the job may be stored, and a worker may have begun. Another submission
                // stores the job again. Otherwise the stream expires (I6).
                self.queue.enqueue(&job).await?;
                self.keeper.watch(id, on_disconnect == OnDisconnect::Detached);
                if let Some(request) = job.request {
                    metrics::accepted(&request.model);
                    tracing::info!(generation.id = %id, model = %request.model, "generation accepted");
                }
                let spec = StreamSpec { request: Bytes::new(), ..spec };
                Ok(Accepted { id, how: Submitted::New, spec })
            }
            Created::Existing(other) if other != fingerprint => Err(SubmitError::Conflict(id)),
            Created::Existing(_) => {
                // Read before the job is stored: an error after that would refuse a prompt that runs.
                let spec = StreamSpec { request: Bytes::new(), ..self.log.spec(id).await? };
                self.store_job_if_missing(id, request).await?;
                // The first submission may have failed, and then nothing watches the generation yet.
                self.keeper.watch(id, spec.on_disconnect == OnDisconnect::Detached);
                Ok(Accepted { id, how: Submitted::Existing, spec })
            }
        }
    }

    /// Reads a generation from a cursor. [`Seq::START`] reads all of it.
    ///
    /// # Errors
    /// See [`Follower::open`].
    pub async fn follow(&self, id: GenerationId, after: Seq) -> Result<Follower, FollowError> {
        let follower = Follower::open(Arc::clone(&self.log), Arc::clone(&self.clock), id, after).await?;
        Ok(follower.kept_by(Arc::clone(&self.keeper)))
    }

    /// Reads a generation that was just accepted. If the log cannot be read now, the follower retries in [`Follower::next`],
    /// because the generation is accepted.
    ///
    /// # Errors
    /// [`FollowError::BeyondEnd`].
    pub async fn follow_accepted(&self, accepted: &Accepted, after: Seq) -> Result<Follower, FollowError> {
        let Accepted { id, spec, .. } = accepted;
        match self.follow(*id, after).await {
            Err(error @ (FollowError::Unavailable(_) | FollowError::NotFound(_) | FollowError::Lost(_))) => {
                tracing::warn!(generation.id = %id, error = %explain(&error), "cannot read a generation that was just accepted; retrying");
                let (log, clock) = (Arc::clone(&self.log), Arc::clone(&self.clock));
                Ok(Follower::begin(log, clock, *id, spec.epoch(), after).kept_by(Arc::clone(&self.keeper)))
            }
            other => other,
        }
    }

    /// The spec of a generation, with the metadata of its front end, on any replica.
    ///
    /// # Errors
    /// [`AccessError::NotFound`], [`AccessError::Unavailable`].
    pub async fn spec(&self, id: GenerationId) -> Result<StreamSpec, AccessError> {
        Ok(self.log.spec(id).await?)
    }

    /// Reads one page after a cursor, without waiting. For readers that poll: they count as present, and end a stream that no
    /// worker will end, as followers do (I10).
    ///
    /// # Errors
    /// [`AccessError::NotFound`], [`AccessError::Unavailable`].
    pub async fn look(&self, id: GenerationId, after: Seq) -> Result<Page, AccessError> {
        let page = self.log.read(id, after, LOOK).await?;
        if page.phase == Phase::Sealed {
            return Ok(page);
        }
        if let Some(lost) = given_up(page.phase, &*self.clock) {
            end_given_up(&*self.log, id, &lost).await?;
            return Ok(self.log.read(id, after, LOOK).await?);
        }
        self.log.touch_presence(id).await?;
        Ok(page)
    }

    /// Removes a generation and its entries. Stop a running one first: its worker may continue for a while.
    ///
    /// # Errors
    /// [`AccessError::NotFound`], [`AccessError::Unavailable`].
    pub async fn remove(&self, id: GenerationId) -> Result<(), AccessError> {
        self.log.spec(id).await?;
        self.log.remove(id).await?;
        tracing::info!(generation.id = %id, "removed a generation on request");
        Ok(())
    }

    /// Stops a queued or running generation on any replica. Durable when it returns. A running generation ends shortly after.
    /// One that waits for a worker or a model has ended. Idempotent. No effect on one that has ended.
    ///
    /// # Errors
    /// [`AccessError::NotFound`], [`AccessError::Unavailable`].
    pub async fn cancel(&self, id: GenerationId) -> Result<(), AccessError> {
        self.log.cancel(id).await?;
        tracing::info!(generation.id = %id, "stop requested");
        if let Err(error) = self.end_if_it_waits(id).await {
            // Its next worker ends it.
            tracing::warn!(generation.id = %id, error = %explain(&error), "could not end a generation that waits");
        }
        Ok(())
    }

    /// Ends a stopped generation that no worker runs. A worker that leases its job meanwhile finds the stream sealed.
    async fn end_if_it_waits(&self, id: GenerationId) -> Result<(), LogError> {
        let phase = self.log.read(id, Seq::START, NonZeroUsize::MIN).await?.phase;
        if phase == Phase::Sealed || phase.has_owner() {
            return Ok(());
        }
        end(&*self.log, id, &Failure::Cancelled { cause: CancelCause::Requested }).await?;
        tracing::info!(generation.id = %id, outcome = "cancelled", "generation ended: stopped while it waited");
        Ok(())
    }

    /// Whether a generation would be accepted now.
    ///
    /// # Errors
    /// Every reason why not, for operators.
    pub async fn ready(&self) -> Result<(), Vec<String>> {
        let (log, queue) = futures::join!(self.log.ready(), self.queue.ready());
        let reasons: Vec<_> = log
            .err()
            .map(|error| explain(&error))
            .into_iter()
            .chain(queue.err().map(|error| explain(&error)))
            .collect();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// Reserves a place in the queue. A generation that was accepted before needs none.
    async fn place_for(&self, id: GenerationId) -> Result<Option<Place>, SubmitError> {
        let place = self.admission.place(|| self.queue.waiting());
        if place.is_some() {
            return Ok(place);
        }
        match self.log.spec(id).await {
            Ok(_) => Ok(None),
            Err(LogError::NotFound(_)) => {
                metrics::shed();
                tracing::debug!(generation.id = %id, "refused a prompt: the queue is full");
                Err(SubmitError::Overloaded)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Stores the job of an existing stream, unless an attempt has begun or the job is known to be stored: the creator of the
    /// stream may have died before it stored the job.
    async fn store_job_if_missing(
        &self,
        id: GenerationId,
        request: GenerateRequest,
    ) -> Result<(), SubmitError> {
        let asked = Instant::now();
        loop {
            let page = self.log.read(id, Seq::START, NonZeroUsize::MIN).await?;
            let Phase::Queued { .. } = page.phase else { return Ok(()) };
            // The submitter will read next. An outage may have been longer than the presence of its readers lasts.
            self.log.touch_presence(id).await?;
            if asked.elapsed() >= RESUBMIT_AFTER {
                match self.log.claim_job(id).await? {
                    JobClaim::Stored => return Ok(()),
                    JobClaim::Taken => {}
                    JobClaim::Granted => {
                        tracing::info!(generation.id = %id, "storing the job of a waiting generation again");
                        let job = Job { id, request: Some(request), epoch: Some(page.epoch) };
                        self.queue.enqueue(&job).await?;
                        metrics::requeued();
                        if let Err(error) = self.log.job_stored(id).await {
                            tracing::warn!(generation.id = %id, error = %explain(&error), "could not record that a job was stored; it may be stored once more");
                        }
                        return Ok(());
                    }
                }
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// Why a generation was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The model can never answer this request. Nothing was accepted.
    #[error("model rejected the request: {message}")]
    Rejected {
        /// Why, for the caller.
        message: String,
    },
    /// The id belongs to another request. Choose another id, or send the same request.
    #[error("generation {0} exists with another request: choose another id")]
    Conflict(GenerationId),
    /// The queue has its maximum length. Nothing was stored. Retry later.
    #[error("too many prompts wait for a worker")]
    Overloaded,
    /// The log or the queue cannot be reached. Nothing was accepted. Retry later.
    #[error("prompts cannot be accepted now")]
    Unavailable(#[source] BoxError),
}

impl From<LogError> for SubmitError {
    fn from(error: LogError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<QueueError> for SubmitError {
    fn from(error: QueueError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Why a generation could not be looked up, stopped or removed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// There is no such generation.
    #[error("there is no generation {0}: it never was, or its retention time is over")]
    NotFound(GenerationId),
    /// The log cannot be reached. Retry later.
    #[error("the token log is unavailable")]
    Unavailable(#[source] LogError),
}

impl From<LogError> for AccessError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::NotFound(id) => Self::NotFound(id),
            LogError::Fenced | LogError::Sealed | LogError::Damaged(_) | LogError::Unavailable(_) => {
                Self::Unavailable(error)
            }
        }
    }
}
