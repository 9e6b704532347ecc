//! Leases jobs and runs them: opens the stream, asks the model, pumps what it says into the log, seals, acknowledges.
//!
//! A worker has slots; it leases a job only when a slot is free, so the queue's backlog stays with the queue. It decides
//! what an ending means (try again, or seal with which failure) and nothing else: text moves in [`crate::pump`].

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    catalogue::Catalogue,
    clock::Clock,
    error::explain,
    event::{Attempt, Event, Failure, Seq, TextSoFar},
    id::GenerationId,
    job::Job,
    job_queue::{JobQueue, Lease, QueueError},
    metrics,
    model::{Continuation, ModelError},
    pump::{Bounds, Ending, pump},
    retry::Backoff,
    token_log::{LogError, LogWriter, OWNERSHIP, Phase, Prefix, TokenLog},
};

/// How long a worker tries to seal a stream while the log is away, before it gives the job back.
const SEAL_PATIENCE: Duration = Duration::from_secs(60);

/// What a worker may do.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many generations run at once. At least 1.
    pub slots: usize,
    /// How many attempts a generation has before it fails, this worker's and others' together.
    pub attempts: u32,
    /// How long a generation may run, over all attempts.
    pub run_time: Duration,
    /// How long a model may say nothing before the attempt counts as failed, and the next one begins.
    pub stall_time: Duration,
    /// How many bytes of text a generation may hold while the log is behind, before the model is held back.
    pub pending_bytes: usize,
    /// Where this worker stands, for logs and for the `started` event.
    pub region: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            slots: 8,
            attempts: 5,
            run_time: Duration::from_secs(300),
            // Longer than a slow machine takes over a long prompt.
            stall_time: Duration::from_secs(120),
            // Some minutes of what the fastest models say to one reader; times the slots, still a small process.
            pending_bytes: 256 * 1024,
            region: None,
        }
    }
}

/// Runs jobs until it is told to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Worker {
    log: Arc<dyn TokenLog>,
    queue: Arc<dyn JobQueue>,
    models: Catalogue,
    clock: Arc<dyn Clock>,
    config: Arc<Config>,
}

/// What becomes of a lease.
#[derive(Debug)]
enum Verdict {
    /// The job is over: its stream is sealed, or gone.
    Done,
    /// The job is to be tried again after this time.
    Again(Duration),
}

/// What becomes of a stream after an attempt.
#[derive(Debug)]
enum Outcome {
    Seal(Event),
    Again(Duration),
}

impl Worker {
    /// A worker that takes jobs from `queue` and runs `models` into `log`.
    pub fn new(
        log: Arc<dyn TokenLog>,
        queue: Arc<dyn JobQueue>,
        models: Catalogue,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Self {
        Self { log, queue, models, clock, config: Arc::new(config) }
    }

    /// Works until `soft` fires, then finishes what runs, until `hard` fires, then drops what still runs: its leases go
    /// back to the queue, and another worker goes on from what is in the log.
    pub async fn run(&self, soft: CancellationToken, hard: CancellationToken) {
        tokio::join!(self.run_jobs(&soft, &hard), self.bury_dead_letters(&soft));
    }

    async fn run_jobs(&self, soft: &CancellationToken, hard: &CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.config.slots));
        let mut jobs = JoinSet::new();
        loop {
            // Dropping a pending lease loses no job, by its contract; dropping the slot frees it.
            let (slot, lease) = tokio::select! {
                biased;
                () = soft.cancelled() => break,
                Some(ended) = jobs.join_next(), if !jobs.is_empty() => {
                    report_panic(ended);
                    continue;
                }
                leased = self.lease_into(&slots) => leased,
            };
            let worker = self.clone();
            let span =
                tracing::info_span!("job", generation.id = %lease.job().id, region = worker.config.region);
            jobs.spawn(worker.settle(Box::new(lease), slot).instrument(span));
        }
        tokio::select! {
            biased;
            () = async { while let Some(ended) = jobs.join_next().await { report_panic(ended) } } => {}
            () = hard.cancelled() => {
                tracing::warn!(generations = jobs.len(), "giving running generations back to the queue");
                jobs.shutdown().await;
            }
        }
    }

    /// Waits for a free slot, then for a job.
    async fn lease_into(&self, slots: &Arc<Semaphore>) -> (OwnedSemaphorePermit, Lease) {
        let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
        (slot, patiently("lease a job", || self.queue.lease()).await)
    }

    /// Seals the streams of the jobs that the queue has given up on.
    async fn bury_dead_letters(&self, soft: &CancellationToken) {
        loop {
            let lease = tokio::select! {
                biased;
                () = soft.cancelled() => return,
                lease = patiently("look for dead letters", || self.queue.dead_letter()) => lease,
            };
            let id = lease.job().id;
            metrics::dead_lettered();
            tracing::error!(generation.id = %id, "the queue gave up on a job; failing its generation");
            let failure = Failure::Exhausted {
                attempts: self.config.attempts,
                message: "the job was given back too often; its workers may have crashed".into(),
            };
            let settled = match self.bury(lease.job(), failure).await {
                Ok(()) | Err(LogError::Sealed | LogError::NotFound(_)) => lease.ack().await,
                Err(error) => {
                    tracing::warn!(generation.id = %id, error = %explain(&error), "could not fail a dead generation");
                    lease.retry(Duration::from_secs(5)).await
                }
            };
            report_unsettled(id, settled);
        }
    }

    /// Ends the stream of a job that nobody will run, as the newest attempt.
    async fn bury(&self, job: &Job, failure: Failure) -> Result<(), LogError> {
        self.open(job).await?.seal(&Event::Failed { failure }).await.map(drop)
    }

    /// Runs one job, and gives up its lease in the way that follows from what happened. The slot is held to the end. The
    /// lease is boxed, because a future keeps room for every place that it moves a value to.
    async fn settle(self, lease: Box<Lease>, _slot: OwnedSemaphorePermit) {
        let id = lease.job().id;
        let settled = match self.run_to_a_verdict(lease.job()).await {
            Verdict::Done => lease.ack().await,
            Verdict::Again(after) => lease.retry(after).await,
        };
        report_unsettled(id, settled);
    }

    /// Runs a job until it is known what becomes of it.
    async fn run_to_a_verdict(&self, job: &Job) -> Verdict {
        loop {
            match self.run_job(job).await {
                Ok(verdict) => return verdict,
                Err(LogError::Sealed) => return Verdict::Done,
                Err(LogError::NotFound(id)) => {
                    metrics::orphaned();
                    tracing::warn!(generation.id = %id, "dropping a job without a stream");
                    return Verdict::Done;
                }
                // Not the end of the job: the newer attempt may be one whose lease is void, and die without another. Go round
                // again: wait while it lives, then find its seal or take over. Where our own lease is void, settling it
                // goes nowhere.
                Err(LogError::Fenced) => {
                    metrics::fenced();
                    tracing::warn!(generation.id = %job.id, "another worker took over; stopping");
                }
                Err(LogError::Unavailable(cause)) => {
                    tracing::warn!(generation.id = %job.id, %cause, "the token log stayed away; giving the job back");
                    return Verdict::Again(Duration::from_secs(2));
                }
            }
        }
    }

    async fn run_job(&self, job: &Job) -> Result<Verdict, LogError> {
        let mut writer = self.open(job).await?;
        let _running = metrics::Running::begin();
        let began = Instant::now();
        let attempt = writer.attempt();
        match self.attempt(job, &mut *writer).await? {
            Outcome::Again(after) => Ok(Verdict::Again(after)),
            Outcome::Seal(last) => {
                seal(&mut *writer, &last).await?;
                metrics::ended(&last);
                let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(%attempt, duration_ms, outcome = last.outcome(), "generation ended");
                Ok(Verdict::Done)
            }
        }
    }

    /// Opens the stream that the job was stored for, once nobody else writes to it. While the job was on its way, its id may
    /// have been given up and taken again: that stream has a job of its own, maybe with another request.
    async fn open(&self, job: &Job) -> Result<Box<dyn LogWriter>, LogError> {
        let is_ours =
            |start_by| if start_by == job.expires_at { Ok(()) } else { Err(LogError::NotFound(job.id)) };
        // Before: a stale job neither waits for the owner of another stream nor deposes it.
        is_ours(self.log.spec(job.id).await?.start_by)?;
        self.wait_while_owned(job.id).await?;
        let writer = self.log.open_writer(job.id).await?;
        // And again: some time may have passed.
        is_ours(writer.start_by())?;
        Ok(writer)
    }

    /// Waits until nobody writes to the stream. The job was delivered twice, or taken from a worker that the broker does not
    /// see any more but that lives: it is left alone for as long as it does. Giving the lease back instead would use up the
    /// deliveries that a broker allows; acknowledging it would lose the job should the owner die.
    async fn wait_while_owned(&self, id: GenerationId) -> Result<(), LogError> {
        let mut told = false;
        while let Phase::Running { silent_for, .. } =
            self.log.read(id, Seq::START, NonZeroUsize::MIN).await?.phase
            && let Some(left) = OWNERSHIP.checked_sub(silent_for)
            && !left.is_zero()
        {
            if !told {
                tracing::info!(generation.id = %id, "another worker may be alive; waiting until it is silent");
                told = true;
            }
            sleep(left).await;
        }
        Ok(())
    }

    /// One attempt, from an open writer to what should become of the stream.
    async fn attempt(&self, job: &Job, writer: &mut dyn LogWriter) -> Result<Outcome, LogError> {
        let attempt = writer.attempt();
        let now = self.clock.now();
        let started_at = writer.so_far().started_at;
        if let Some(cause) = writer.cancellation().cause() {
            return Ok(failed(Failure::Cancelled { cause }));
        }
        if started_at.is_none() && now > job.expires_at {
            return Ok(failed(Failure::Expired));
        }
        let ran = started_at.map_or(Duration::ZERO, |started_at| now.since(started_at));
        let Some(left) = self.config.run_time.checked_sub(ran).filter(|left| !left.is_zero()) else {
            return Ok(failed(Failure::TimedOut));
        };
        if attempt.get() > self.config.attempts {
            let message = "every attempt was cut short; its workers may have crashed".into();
            return Ok(failed(Failure::Exhausted { attempts: self.config.attempts, message }));
        }
        let Some(model) = self.models.get(&job.request.model) else {
            let message = format!("this worker has no model {}", job.request.model);
            return Ok(failed(Failure::Rejected { message }));
        };

        let so_far = writer.so_far();
        let (text, so_far) = if so_far.is_empty() {
            (TextSoFar::Kept, Prefix::default())
        } else {
            match model.continuation(so_far) {
                Continuation::Exact | Continuation::Resampled => (TextSoFar::Kept, so_far.clone()),
                Continuation::Unsupported => (TextSoFar::Superseded, Prefix::default()),
            }
        };
        let started = Event::Started { attempt, text, region: self.config.region.clone() };
        metrics::began(attempt);
        if started_at.is_none() {
            tracing::info!(%attempt, model = %job.request.model, "generation started");
        } else {
            // Whoever had it before was killed, has failed, gave it back, or has not been heard of for a while.
            tracing::info!(
                %attempt,
                model = %job.request.model,
                from_region = writer.so_far().last_region,
                kept_bytes = so_far.text.len(),
                "taking a generation over"
            );
        }
        let bounds = Bounds {
            pending_bytes: self.config.pending_bytes,
            deadline: Instant::now() + left,
            stall_time: self.config.stall_time,
        };
        // A model that takes long to begin is cancelled, fenced and timed out as one that speaks.
        let asked = model.generate(job.id, &job.request, &so_far);
        let ending = pump(writer, started, asked, bounds).await?;
        Ok(self.outcome(attempt, ending))
    }

    fn outcome(&self, attempt: Attempt, ending: Ending) -> Outcome {
        match ending {
            Ending::Finished { reason, usage } => Outcome::Seal(Event::Finished { reason, usage }),
            Ending::Cancelled(cause) => failed(Failure::Cancelled { cause }),
            Ending::TimedOut => failed(Failure::TimedOut),
            Ending::Failed(ModelError::Rejected { message }) => failed(Failure::Rejected { message }),
            Ending::Failed(error) if attempt.get() >= self.config.attempts => {
                tracing::error!(%attempt, error = %explain(&error), "the last attempt failed");
                failed(Failure::Exhausted { attempts: attempt.get(), message: explain(&error) })
            }
            Ending::Failed(ModelError::Busy { retry_after }) => {
                tracing::info!(%attempt, ?retry_after, "the model is busy; giving the job back");
                Outcome::Again(retry_after)
            }
            Ending::Failed(ModelError::Absent { retry_after, cause }) => {
                tracing::warn!(%attempt, ?retry_after, error = %explain(&*cause), "the model cannot be reached; giving the job back");
                Outcome::Again(retry_after)
            }
            Ending::Failed(error @ ModelError::Unavailable(_)) => {
                let after = backoff_of(attempt);
                tracing::warn!(%attempt, ?after, error = %explain(&error), "the attempt failed; trying again");
                Outcome::Again(after)
            }
        }
    }
}

/// The wait after a failed attempt: half a second, doubling, up to half a minute.
fn backoff_of(attempt: Attempt) -> Duration {
    let doublings = attempt.get().saturating_sub(1).min(6);
    Duration::from_millis(500 << doublings).min(Duration::from_secs(30))
}

fn failed(failure: Failure) -> Outcome {
    Outcome::Seal(Event::Failed { failure })
}

/// Seals, however often it takes.
async fn seal(writer: &mut dyn LogWriter, last: &Event) -> Result<(), LogError> {
    let began = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        match writer.seal(last).await {
            Err(LogError::Unavailable(cause)) if began.elapsed() < SEAL_PATIENCE => {
                tracing::warn!(%cause, "the token log is unavailable; will seal the generation when it is back");
                sleep(backoff.advance()).await;
            }
            other => return other.map(drop),
        }
    }
}

/// Asks the queue until it answers.
async fn patiently<F>(what: &str, mut ask: impl FnMut() -> F) -> Lease
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

/// A job that panicked has dropped its lease and comes back; its attempts are counted by the log (I4).
fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "running a generation panicked; its job goes back to the queue");
    }
}

fn report_unsettled(id: GenerationId, settled: Result<(), QueueError>) {
    if let Err(error) = settled {
        tracing::warn!(generation.id = %id, error = %explain(&error), "could not settle a job; it will come back");
    }
}
