//! The door for front ends: submit a generation, follow it, look it up, cancel it.

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

/// How long a submission that finds its own stream waits for an attempt to begin. Then it stores the job again, unless that
/// was done a short while ago: the first submission may have died between the stream and the job (I6). A job that is stored
/// twice does no harm.
const RESUBMIT_AFTER: Duration = Duration::from_secs(2);

/// How often it looks meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How many entries one look gives: as many as a follower asks for at once.
const LOOK: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

/// A margin on top of the running time: to notice that time is up, and to seal.
const TIME_TO_SEAL: Duration = Duration::from_secs(60);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a job may wait for a worker.
    pub queue_time: Duration,
    /// How long a generation may run, over all attempts. The same value as the workers'.
    pub run_time: Duration,
}

/// All that a front end needs. Cheap to clone.
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

/// What a front end asks for.
#[derive(Clone)]
pub struct Submission {
    /// The client's own id, which makes submitting idempotent, or a fresh one.
    pub id: GenerationId,
    /// Who asks. No part of the request's identity: of a submission that is repeated, the first caller stays.
    pub caller: Caller,
    /// What to generate.
    pub request: GenerateRequest,
    /// What happens once nobody reads.
    pub on_disconnect: OnDisconnect,
    /// What the front end wants to read again with [`Generations::spec`], at most [`StreamSpec::MAX_METADATA_BYTES`]; empty for
    /// nothing. No part of the request's identity: of a submission that is repeated, the first metadata stays.
    pub metadata: Bytes,
}

/// Metadata are private: a log line shows how large one is.
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
    /// Which one.
    pub id: GenerationId,
    /// Whether by this submission.
    pub how: Submitted,
    /// What it was accepted with: of a submission that is repeated, what the first one fixed. Without the request.
    pub spec: StreamSpec,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is queued.
    New,
    /// The same submission was accepted before; follow it.
    Existing,
}

impl Generations {
    /// Puts a front end's door in front of a log and a queue.
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

    /// With a bound on the prompts that wait for a worker; without one, any number may. Those who submit through clones of
    /// this door never exceed it together; other processes may, by what they store in a second or two.
    #[must_use]
    pub fn with_waiting_at_most(mut self, bound: usize) -> Self {
        self.admission = Admission::with_bound(bound);
        self
    }

    /// Watches the generations that this object and its clones accept, until `stop` fires: when the queue has lost the job of
    /// one that waits, stores it again. Without this only readers notice the loss.
    pub async fn keep_watch(&self, stop: CancellationToken) {
        self.keeper.keep_watch(stop).await;
    }

    /// The models that may be asked for.
    pub fn models(&self) -> &ModelNames {
        &self.models
    }

    /// Accepts a generation. Stream and job are durable when it returns `Ok` (I9), in that order (I6). Submitting the same
    /// id with the same request again is harmless.
    ///
    /// # Errors
    /// [`SubmitError::Rejected`] when the model can never answer it. [`SubmitError::Conflict`] when the id stands for
    /// another request. [`SubmitError::Overloaded`] when too many wait already: nothing was stored.
    /// [`SubmitError::Unavailable`] when the log or the queue is down: nothing was accepted, and the same submission may be
    /// tried again, under the same id.
    ///
    /// If the future is dropped, the generation was accepted or an empty stream expires.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, SubmitError> {
        let Submission { id, caller, request, on_disconnect, metadata } = submission;
        debug_assert!(metadata.len() <= StreamSpec::MAX_METADATA_BYTES, "front ends see to it");
        // First, because it costs the least: those who are turned away are many. Held until the queue counts the job itself.
        let _place = self.place_for(id).await?;
        match self.models.check(&request).await {
            Ok(()) => {}
            Err(ModelError::Rejected { message }) => return Err(SubmitError::Rejected { message }),
            // Not about the request: its attempts will show.
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
                // On an error the stream stays, although nobody was told that it is there: the job may be stored, and
                // somebody may have begun with it. Whoever submits again heals it; otherwise it expires (I6).
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
                // Before the job is stored: an error after that would refuse a prompt that is answered.
                let spec = StreamSpec { request: Bytes::new(), ..self.log.spec(id).await? };
                self.store_job_if_missing(id, request).await?;
                // The submission that created it may have been refused, and then nothing watches it yet.
                self.keeper.watch(id, spec.on_disconnect == OnDisconnect::Detached);
                Ok(Accepted { id, how: Submitted::Existing, spec })
            }
        }
    }

    /// Reads a generation from a cursor; [`Seq::START`] for all of it.
    ///
    /// # Errors
    /// See [`Follower::open`].
    pub async fn follow(&self, id: GenerationId, after: Seq) -> Result<Follower, FollowError> {
        let follower = Follower::open(Arc::clone(&self.log), Arc::clone(&self.clock), id, after).await?;
        Ok(follower.kept_by(Arc::clone(&self.keeper)))
    }

    /// Reads a generation that was accepted a moment ago. An error of the log does not turn the accepted generation into a
    /// refused one: the follower then begins without having read anything, and tries again as [`Follower::next`] does.
    ///
    /// # Errors
    /// [`FollowError::BeyondEnd`] for a cursor that no reader of this stream can have.
    pub async fn follow_accepted(&self, accepted: &Accepted, after: Seq) -> Result<Follower, FollowError> {
        let Accepted { id, spec, .. } = accepted;
        match self.follow(*id, after).await {
            Err(error @ (FollowError::Unavailable(_) | FollowError::NotFound(_) | FollowError::Lost(_))) => {
                tracing::warn!(generation.id = %id, error = %explain(&error), "cannot read a generation that was just accepted; trying again until it can be read");
                let (log, clock) = (Arc::clone(&self.log), Arc::clone(&self.clock));
                Ok(Follower::begin(log, clock, *id, spec.epoch(), after).kept_by(Arc::clone(&self.keeper)))
            }
            other => other,
        }
    }

    /// What a generation was accepted with, the metadata of its front end too: for as long as it is kept, on any replica.
    ///
    /// # Errors
    /// [`AccessError::NotFound`], [`AccessError::Unavailable`].
    pub async fn spec(&self, id: GenerationId) -> Result<StreamSpec, AccessError> {
        Ok(self.log.spec(id).await?)
    }

    /// What is there after a cursor now, a page of it, without waiting for more. For readers that come back now and then:
    /// they count as an audience, and learn as a follower does that nobody will end the stream any more (I10).
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

    /// Forgets a generation and all that it said, on request of its owner. One that still runs is better stopped first: its
    /// worker might work on for nobody.
    ///
    /// # Errors
    /// [`AccessError::NotFound`], [`AccessError::Unavailable`].
    pub async fn remove(&self, id: GenerationId) -> Result<(), AccessError> {
        self.log.spec(id).await?;
        self.log.remove(id).await?;
        tracing::info!(generation.id = %id, "forgot a generation on request");
        Ok(())
    }

    /// Stops a generation, queued or running, wherever it runs. Durable when it returns. One that runs ends with a
    /// cancellation shortly after; one that waits, for a worker or for its model, has ended. Idempotent, and without effect
    /// on one that has ended.
    ///
    /// # Errors
    /// [`AccessError::NotFound`], [`AccessError::Unavailable`].
    pub async fn cancel(&self, id: GenerationId) -> Result<(), AccessError> {
        self.log.cancel(id).await?;
        tracing::info!(generation.id = %id, "asked to stop a generation");
        if let Err(error) = self.end_if_it_waits(id).await {
            // Its next worker ends it.
            tracing::warn!(generation.id = %id, error = %explain(&error), "could not end a generation that waits");
        }
        Ok(())
    }

    /// Ends a generation that is to stop and that no worker has now. A worker that leases its job meanwhile finds it sealed,
    /// or is fenced and finds it sealed then.
    async fn end_if_it_waits(&self, id: GenerationId) -> Result<(), LogError> {
        let phase = self.log.read(id, Seq::START, NonZeroUsize::MIN).await?.phase;
        if phase == Phase::Sealed || phase.has_owner() {
            return Ok(());
        }
        end(&*self.log, id, &Failure::Cancelled { cause: CancelCause::Requested }).await?;
        tracing::info!(generation.id = %id, outcome = "cancelled", "generation ended: it was stopped while it waited");
        Ok(())
    }

    /// Whether a generation would be accepted now.
    ///
    /// # Errors
    /// Every reason why not, for people.
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

    /// A place in the queue for a generation. One that was accepted before needs none: it has one, or had it.
    async fn place_for(&self, id: GenerationId) -> Result<Option<Place>, SubmitError> {
        let place = self.admission.place(|| self.queue.waiting());
        if place.is_some() {
            return Ok(place);
        }
        match self.log.spec(id).await {
            Ok(_) => Ok(None),
            Err(LogError::NotFound(_)) => {
                metrics::shed();
                tracing::debug!(generation.id = %id, "refused a prompt: too many wait");
                Err(SubmitError::Overloaded)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// An existing stream is not an accepted one yet: its creator may have died between the stream and the job. It is
    /// accepted once an attempt has begun, or once its job is known to be stored.
    async fn store_job_if_missing(
        &self,
        id: GenerationId,
        request: GenerateRequest,
    ) -> Result<(), SubmitError> {
        let asked = Instant::now();
        loop {
            let page = self.log.read(id, Seq::START, NonZeroUsize::MIN).await?;
            let Phase::Queued { .. } = page.phase else { return Ok(()) };
            // Whoever submits is about to read: an outage may have been longer than the stream's audience lasts.
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
                            tracing::warn!(generation.id = %id, error = %explain(&error), "could not note that a job was stored; it may be stored once more");
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
    /// The model will never answer this request. Nothing was accepted.
    #[error("model rejected the request: {message}")]
    Rejected {
        /// Why, for the caller.
        message: String,
    },
    /// The id already stands for another request. Choose another id, or send the same request.
    #[error("generation {0} exists with another request: choose another id")]
    Conflict(GenerationId),
    /// As many prompts wait for a worker as may. Nothing was stored; try again later.
    #[error("too many prompts wait for a worker")]
    Overloaded,
    /// The log or the queue cannot be reached. Nothing was accepted; try again later.
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

/// Why something kept of a generation could not be reached: to be looked at, stopped or forgotten.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No such generation is kept.
    #[error("there is no generation {0}: it never was, or its retention time is over")]
    NotFound(GenerationId),
    /// The log cannot be reached. Try again later.
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
