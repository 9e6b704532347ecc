//! Leases jobs and runs them: opens the stream, asks the model, pumps its output into the log, seals, acknowledges.
//!
//! A worker leases a job only when it has a free slot, so waiting jobs stay in the queue. It decides what follows from the
//! end of an attempt: a retry, or a seal. Output moves in [`crate::pump`].
//!
//! Which attempts count (I11): only those that asked the model and then died or failed without progress. The log records
//! them before the model is asked. These cost nothing: an attempt that a stopping process interrupts, a model that is busy or
//! unreachable, a log or queue that is unavailable. A job that waits for its model, its retry or another worker takes no slot.

mod attempt;
mod dead_letters;
mod job_request;
mod log_gate;
mod running_jobs;
mod trials;
mod writes;

use std::{num::NonZeroUsize, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub(crate) use self::trials::Unproven;
use self::{
    job_request::{Unreadable, request_of},
    log_gate::LogGate,
    running_jobs::{Admitted, RunningJob, RunningJobs},
    trials::Trials,
    writes::{SEAL_TIMEOUT, release, seal},
};
use crate::{
    catalogue::Catalogue,
    clock::Clock,
    epoch::Epoch,
    error::explain,
    event::{Event, Failure, Seq},
    follow::end,
    id::GenerationId,
    job::Job,
    job_queue::{JobQueue, Lease, QueueError},
    metrics,
    retry::Backoff,
    token_log::{Attempts, LogError, LogWriter, Phase, TokenLog, WRITER_TIMEOUT},
};

/// When a job is delivered again after the log was unavailable.
const LOG_RETRY: Duration = Duration::from_secs(2);

/// When a copy of a job is delivered again that another worker runs. If that worker dies and its own job is gone, the answer
/// pauses for this long.
const OWNER_RETRY: Duration = Duration::from_secs(2);

/// How long a job that gave up its slot waits for another one. Then it returns to the queue.
const SLOT_WAIT: Duration = Duration::from_secs(2);

/// The longest wait before a job whose model this worker does not have is delivered again.
const MISSING_MODEL_RETRY: Duration = Duration::from_secs(5);

/// The shortest wait for a model that says how long to wait.
const MIN_MODEL_WAIT: Duration = Duration::from_millis(500);

/// How long a job waits here until it may run alone, and when it is delivered again after that.
const TRIAL_WAIT: Duration = Duration::from_secs(10);
const TRIAL_RETRY: Duration = Duration::from_secs(1);

/// How long a stopping process takes to return running generations, and how long one of them waits for the log meanwhile.
/// Less than the 5 s that a process has at its end.
const GIVE_BACK_TIME: Duration = Duration::from_secs(4);
const RELEASE_TIME: Duration = Duration::from_secs(2);

/// The limits of a worker.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many generations run at once, at least 1. Default: 8.
    pub slots: usize,
    /// How many attempts in a row, on all workers, may ask the model and end without progress before a generation fails.
    /// Default: 5.
    pub attempts: u32,
    /// How long a generation may run, over all attempts. Default: 300 s.
    pub run_time: Duration,
    /// How long a model may send nothing before the attempt fails. Default: 120 s.
    pub stall_time: Duration,
    /// How many bytes of output a generation buffers while the log is behind. Then the model is not polled. Default: 256 KiB.
    pub pending_bytes: usize,
    /// The region of this worker, for logs and the `started` event. Default: none.
    pub region: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            slots: 8,
            attempts: 5,
            run_time: Duration::from_secs(300),
            // Longer than a slow machine needs for a long prompt.
            stall_time: Duration::from_secs(120),
            // Some minutes of output of the fastest models. Times the slots, still a small process.
            pending_bytes: 256 * 1024,
            region: None,
        }
    }
}

/// Runs jobs until it is stopped. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Worker {
    log: Arc<dyn TokenLog>,
    queue: Arc<dyn JobQueue>,
    models: Catalogue,
    clock: Arc<dyn Clock>,
    config: Arc<Config>,
    slots: Arc<Semaphore>,
    running_jobs: RunningJobs,
    trials: Trials,
    log_gate: LogGate,
}

/// How a lease ends.
#[derive(Debug)]
enum LeaseOutcome {
    /// The stream is sealed or gone: acknowledge the job.
    Done,
    /// Return the job to the queue, to be delivered after this time.
    Retry(Duration),
}

/// What the worker writes after an attempt.
#[derive(Debug)]
enum AttemptOutcome {
    /// This terminal event.
    Seal(Event),
    /// This state of the attempts. The next attempt follows after this time.
    Release(Attempts, Duration),
}

/// The two stages of a stop.
#[derive(Clone, Debug)]
struct Stop {
    /// No new job is leased.
    soft: CancellationToken,
    /// Running generations return to the queue.
    hard: CancellationToken,
}

impl Worker {
    /// A worker that takes jobs from `queue`, runs `models` and writes to `log`.
    pub fn new(
        log: Arc<dyn TokenLog>,
        queue: Arc<dyn JobQueue>,
        models: Catalogue,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(config.slots));
        let log_gate = LogGate::new(Arc::clone(&log));
        let (running_jobs, trials) = (RunningJobs::default(), Trials::new(config.slots));
        Self { log, queue, models, clock, config: Arc::new(config), slots, running_jobs, trials, log_gate }
    }

    /// Leases jobs until `soft` fires. Then finishes running generations until `hard` fires. Then returns the rest to the
    /// queue, where another worker continues from the log. Returned generations lose no attempt.
    pub async fn run(&self, soft: CancellationToken, hard: CancellationToken) {
        let stop = Stop { soft, hard };
        tokio::join!(self.run_jobs(&stop), self.requeue_dead_letters(&stop.soft));
    }

    async fn run_jobs(&self, stop: &Stop) {
        let mut jobs = JoinSet::new();
        loop {
            // Dropping a pending lease loses no job, by its contract. Dropping the slot frees it.
            let (slot, lease) = tokio::select! {
                biased;
                () = stop.soft.cancelled() => break,
                Some(ended) = jobs.join_next(), if !jobs.is_empty() => {
                    report_panic(ended);
                    continue;
                }
                leased = self.lease_into_a_slot() => leased,
            };
            let id = lease.job().id;
            let span = tracing::info_span!("job", generation.id = %id, region = self.config.region);
            match self.running_jobs.admit(lease) {
                Admitted::New(job) => {
                    let worker = self.clone();
                    jobs.spawn(worker.settle(Box::new(job), slot, stop.clone()).instrument(span));
                }
                Admitted::Duplicate { earlier } => {
                    tracing::debug!(parent: &span, "a job that runs here was delivered again");
                    metrics::redelivered();
                    // An error means that its connection is gone. Nothing to do then.
                    jobs.spawn(async move { drop(earlier.ack().await) }.instrument(span));
                }
            }
        }
        let mut ended = pin!(async {
            while let Some(ended) = jobs.join_next().await {
                report_panic(ended);
            }
        });
        tokio::select! {
            biased;
            () = &mut ended => return,
            () = stop.hard.cancelled() => tracing::info!("stopping: returning running generations to the queue"),
        }
        // A generation that is not returned in time is dropped. Its job comes back, and its attempt counts as one that died.
        if timeout(GIVE_BACK_TIME, ended).await.is_err() {
            tracing::warn!("could not return every running generation to the queue in time");
        }
    }

    /// Waits for a free slot, for the log, then for a job.
    async fn lease_into_a_slot(&self) -> (OwnedSemaphorePermit, Lease) {
        let slot = self.slot().await;
        self.log_gate.open().await;
        (slot, retry_forever("lease a job", || self.queue.lease()).await)
    }

    async fn slot(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Runs one job and settles its lease. The job is boxed to keep the future small.
    async fn settle(self, running: Box<RunningJob>, slot: OwnedSemaphorePermit, stop: Stop) {
        let id = running.job.id;
        let mut slot = Some(slot);
        let outcome = self.run_until_decided(&running.job, &mut slot, &stop).await;
        let Some(lease) = running.into_lease() else { return };
        let settled = match outcome {
            LeaseOutcome::Done => lease.ack().await,
            // A dropped lease brings the job back in front of the queue. A retry may put it behind prompts that have not begun.
            LeaseOutcome::Retry(Duration::ZERO) => return drop(lease),
            LeaseOutcome::Retry(after) => lease.retry(after).await,
        };
        report_unsettled(id, settled);
    }

    /// Runs a job until its lease can be settled.
    async fn run_until_decided(
        &self,
        job: &Job,
        slot: &mut Option<OwnedSemaphorePermit>,
        stop: &Stop,
    ) -> LeaseOutcome {
        loop {
            match self.run_job(job, slot, stop).await {
                Ok(outcome) => return outcome,
                Err(LogError::Sealed) => return LeaseOutcome::Done,
                Err(LogError::NotFound(id)) => {
                    metrics::without_stream();
                    tracing::warn!(generation.id = %id, "dropped a job whose stream is gone");
                    return LeaseOutcome::Done;
                }
                Err(error @ LogError::Damaged(_)) => {
                    let cause = explain(&error);
                    metrics::damaged();
                    tracing::error!(generation.id = %job.id, cause, "a stream cannot be read");
                    return match self.end_lost(job.id).await {
                        Ok(()) => LeaseOutcome::Done,
                        Err(error) => {
                            tracing::warn!(generation.id = %job.id, error = %explain(&error), "could not end the generation of a damaged stream; retrying later");
                            LeaseOutcome::Retry(LOG_RETRY)
                        }
                    };
                }
                // The newer attempt may have no valid lease, and may die. Keep the job: wait while that attempt lives, then
                // find its seal or take over. If our own lease is void, settling it has no effect.
                Err(LogError::Fenced) => {
                    metrics::fenced();
                    tracing::warn!(generation.id = %job.id, "a newer attempt owns the stream; stopped this one");
                }
                Err(LogError::Unavailable(cause)) => {
                    self.log_gate.close();
                    tracing::warn!(generation.id = %job.id, %cause, "the token log is unavailable; returned the job to the queue");
                    return LeaseOutcome::Retry(LOG_RETRY);
                }
            }
        }
    }

    async fn run_job(
        &self,
        job: &Job,
        slot: &mut Option<OwnedSemaphorePermit>,
        stop: &Stop,
    ) -> Result<LeaseOutcome, LogError> {
        let epoch = match self.wait_while_owned(job, slot, stop).await? {
            Availability::Free { epoch } => epoch,
            Availability::Retry(after) => return Ok(LeaseOutcome::Retry(after)),
        };
        let request = match request_of(&*self.log, job).await? {
            Ok(request) => request,
            Err(Unreadable::Newer) => return Ok(LeaseOutcome::Retry(OWNER_RETRY)),
            Err(Unreadable::Missing) => {
                self.end_lost(job.id).await?;
                return Ok(LeaseOutcome::Done);
            }
        };
        let mut writer = self.log.take_over(job.id).await?;
        // The stream may have been replaced since it was read.
        if writer.epoch() != epoch {
            return Err(LogError::NotFound(job.id));
        }
        let _running = metrics::Running::begin();
        let began = Instant::now();
        let attempt = writer.attempt();
        match self.attempt(job.id, &request, &mut *writer, stop).await? {
            AttemptOutcome::Release(attempts, after) => {
                if !self.release(&mut *writer, attempts, stop).await {
                    // The next attempt waits until this one is silent, and counts it as one that died.
                    tracing::warn!(%attempt, "could not record in the token log that an attempt was interrupted");
                } else if let Some(cause) = writer.cancellation().cause() {
                    // The stop came while the attempt ended. Its caller saw an owner and relied on it to end the stream. Use
                    // another writer: this one may have an append in flight.
                    end(&*self.log, job.id, &Failure::Cancelled { cause }).await?;
                    return Ok(LeaseOutcome::Done);
                }
                Ok(LeaseOutcome::Retry(after))
            }
            AttemptOutcome::Seal(last) => {
                seal(&mut *writer, &last).await?;
                metrics::ended(&last);
                let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(%attempt, duration_ms, outcome = last.outcome(), "generation ended");
                Ok(LeaseOutcome::Done)
            }
        }
    }

    /// Records the state of the attempts and releases the stream. Waits for an unavailable log for [`SEAL_TIMEOUT`], or for
    /// [`RELEASE_TIME`] when the process stops. Returns whether it is recorded.
    async fn release(&self, writer: &mut dyn LogWriter, attempts: Attempts, stop: &Stop) -> bool {
        let mut released = pin!(release(writer, attempts, Instant::now() + SEAL_TIMEOUT));
        let in_time = stop.hard.run_until_cancelled(timeout(SEAL_TIMEOUT, &mut released)).await;
        let outcome = match in_time {
            Some(outcome) => outcome,
            None => timeout(RELEASE_TIME, released).await,
        };
        matches!(outcome, Ok(Ok(())))
    }

    /// Waits until no other worker writes to the stream of the job. Another worker has it when the job was delivered twice, or
    /// when the broker lost a worker that lives. A live owner is left alone. The wait takes no slot. When the owner is known to
    /// live, the job returns to the queue for a while.
    async fn wait_while_owned(
        &self,
        job: &Job,
        slot: &mut Option<OwnedSemaphorePermit>,
        stop: &Stop,
    ) -> Result<Availability, LogError> {
        let mut waited = false;
        let epoch = loop {
            let page = self.log.read(job.id, Seq::START, NonZeroUsize::MIN).await?;
            // The id may belong to a newer stream by now, which has its own job. A stale job does not touch it.
            if job.epoch.is_some_and(|of| of != page.epoch) {
                return Err(LogError::NotFound(job.id));
            }
            let left = match page.phase {
                Phase::Sealed => return Err(LogError::Sealed),
                Phase::Running { silent_for, .. } => WRITER_TIMEOUT.saturating_sub(silent_for),
                Phase::Queued { .. } => Duration::ZERO,
            };
            if left.is_zero() {
                break page.epoch;
            }
            if waited {
                // Its owner wrote while we waited.
                tracing::debug!("another worker runs this generation; retrying later");
                return Ok(Availability::Retry(OWNER_RETRY));
            }
            waited = true;
            *slot = None;
            if stop.soft.run_until_cancelled(sleep(left)).await.is_none() {
                return Ok(Availability::Retry(Duration::ZERO));
            }
        };
        if slot.is_none() {
            // If this process has no free slot soon, another process may have one.
            match stop.soft.run_until_cancelled(timeout(SLOT_WAIT, self.slot())).await {
                Some(Ok(free)) => *slot = Some(free),
                Some(Err(_)) | None => return Ok(Availability::Retry(Duration::ZERO)),
            }
        }
        Ok(Availability::Free { epoch })
    }
}

/// Whether a stream can be taken over.
enum Availability {
    Free { epoch: Epoch },
    Retry(Duration),
}

/// Asks the queue until it answers. `what` completes "cannot ..." in the log.
async fn retry_forever<F>(what: &str, mut ask: impl FnMut() -> F) -> Lease
where
    F: Future<Output = Result<Lease, QueueError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match ask().await {
            Ok(lease) => return lease,
            Err(error) => {
                tracing::warn!(error = %explain(&error), "cannot {what}");
                sleep(backoff.advance()).await;
            }
        }
    }
}

/// A job that panicked has dropped its lease, so it comes back. The log counts its attempts (I4).
fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "running a generation panicked; its job returns to the queue");
    }
}

fn report_unsettled(id: GenerationId, settled: Result<(), QueueError>) {
    if let Err(error) = settled {
        tracing::warn!(generation.id = %id, error = %explain(&error), "could not settle a job; it is delivered again");
    }
}
