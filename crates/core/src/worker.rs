//! Leases jobs and runs them: opens the stream, asks the model, pumps what it says into the log, seals, acknowledges.
//!
//! A worker has slots; it leases a job only when a slot is free, so the queue's backlog stays with the queue. It decides
//! what an ending means (try again, or seal with which failure) and nothing else: text moves in [`crate::pump`].
//!
//! What an attempt costs (I11): one that asked the model and died without getting further is counted, by the log, before
//! the model is asked. Everything else is free: an attempt that was given back by a process that stops, one whose model was
//! busy or could not be reached, one that the log or the queue could not serve. A job that waits for its
//! model, for its retry or for another worker holds no slot.

mod dead_letters;
mod log_gate;
mod running_jobs;
mod trials;

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
    dead_letters::Unreadable,
    log_gate::LogGate,
    running_jobs::{Admitted, RunningJob, RunningJobs},
    trials::{Suspicion, Trials},
};
use crate::{
    catalogue::Catalogue,
    clock::Clock,
    epoch::Epoch,
    error::explain,
    event::{Event, Failure, Seq, TextSoFar},
    follow::end,
    id::GenerationId,
    job::Job,
    job_queue::{JobQueue, Lease, QueueError},
    metrics,
    model::{Continuation, ModelError},
    pump::{AttemptEnd, Bounds, CHECK_EVERY, Progress, PumpOutcome, StartedEvent, pump},
    request::{GenerateRequest, ModelName},
    retry::Backoff,
    token_log::{Attempts, LogError, LogWriter, Ownership, Phase, Prefix, TokenLog, WRITER_TIMEOUT},
};

/// How long a worker tries to seal a stream while the log is away, before it gives the job back.
const SEAL_TIMEOUT: Duration = Duration::from_secs(60);

/// When a job is looked at again that could not be worked on because the log was away.
const LOG_RETRY: Duration = Duration::from_secs(2);

/// When a copy of a job is looked at again that another worker runs. Should that one die without another lease, the answer
/// stands still for this long.
const OWNER_RETRY: Duration = Duration::from_secs(2);

/// How long a job that gave its slot up waits for another one here before it goes back to the queue.
const SLOT_WAIT: Duration = Duration::from_secs(2);

/// How soon another worker is offered a job whose model this one does not have, at the latest.
const MISSING_MODEL_RETRY: Duration = Duration::from_secs(5);

/// The shortest wait for a model that says when to come back.
const MIN_MODEL_WAIT: Duration = Duration::from_millis(500);

/// How long a job waits here for its turn to be tried alone, and when it is offered again after that.
const TRIAL_WAIT: Duration = Duration::from_secs(10);
const TRIAL_RETRY: Duration = Duration::from_secs(1);

/// How long a process that stops takes to give back what runs, and how much of that the log has to note it. Less than the
/// five seconds that a process has at its end.
const GIVE_BACK_TIME: Duration = Duration::from_secs(4);
const RELEASE_TIME: Duration = Duration::from_secs(2);

/// How long a generation waits at most between two attempts, unless its model asks for more.
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// What a worker may do.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many generations run at once. At least 1.
    pub slots: usize,
    /// How many attempts in a row may ask the model and die without getting any further before a generation fails, this
    /// worker's and others' together.
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
    slots: Arc<Semaphore>,
    running_jobs: RunningJobs,
    trials: Trials,
    log_gate: LogGate,
}

/// What becomes of a lease.
#[derive(Debug)]
enum LeaseOutcome {
    /// The job is over: its stream is sealed, or gone.
    Done,
    /// The job is to be tried again after this time.
    Retry(Duration),
}

/// What becomes of a stream after an attempt.
#[derive(Debug)]
enum AttemptOutcome {
    Seal(Event),
    /// The attempt ends here, with this state of the attempts. Another one follows after this time.
    Release(Attempts, Duration),
}

/// When a process stops.
#[derive(Clone, Debug)]
struct Stop {
    /// Nothing new begins.
    soft: CancellationToken,
    /// What runs is given back.
    hard: CancellationToken,
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
        let slots = Arc::new(Semaphore::new(config.slots));
        let log_gate = LogGate::new(Arc::clone(&log));
        let (running_jobs, trials) = (RunningJobs::default(), Trials::new(config.slots));
        Self { log, queue, models, clock, config: Arc::new(config), slots, running_jobs, trials, log_gate }
    }

    /// Works until `soft` fires, then finishes what runs, until `hard` fires, then gives back what still runs: its jobs go
    /// back to the queue, and another worker goes on from what is in the log. That costs no attempt.
    pub async fn run(&self, soft: CancellationToken, hard: CancellationToken) {
        let stop = Stop { soft, hard };
        tokio::join!(self.run_jobs(&stop), self.requeue_dead_letters(&stop.soft));
    }

    async fn run_jobs(&self, stop: &Stop) {
        let mut jobs = JoinSet::new();
        loop {
            // Dropping a pending lease loses no job, by its contract; dropping the slot frees it.
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
                    // Its connection may be gone, and then there is nothing to acknowledge.
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
            () = stop.hard.cancelled() => tracing::info!("giving running generations back to the queue"),
        }
        // A generation that is not given back in time is dropped: its job comes back, and its attempt counts as one whose
        // process died.
        if timeout(GIVE_BACK_TIME, ended).await.is_err() {
            tracing::warn!("could not give every running generation back in time");
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

    /// Runs one job, and gives up its lease in the way that follows from what happened. The job is boxed, because a future
    /// keeps room for every place that it moves a value to.
    async fn settle(self, running: Box<RunningJob>, slot: OwnedSemaphorePermit, stop: Stop) {
        let id = running.job.id;
        let mut slot = Some(slot);
        let outcome = self.run_until_decided(&running.job, &mut slot, &stop).await;
        let Some(lease) = running.into_lease() else { return };
        let settled = match outcome {
            LeaseOutcome::Done => lease.ack().await,
            // Dropped, the job comes back before the jobs behind it. A retry may put it behind them, and an answer that has
            // begun would wait for prompts that have not.
            LeaseOutcome::Retry(Duration::ZERO) => return drop(lease),
            LeaseOutcome::Retry(after) => lease.retry(after).await,
        };
        report_unsettled(id, settled);
    }

    /// Runs a job until it is known what becomes of it.
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
                    tracing::warn!(generation.id = %id, "dropping a job without a stream");
                    return LeaseOutcome::Done;
                }
                Err(error @ LogError::Damaged(_)) => {
                    let cause = explain(&error);
                    metrics::damaged();
                    tracing::error!(generation.id = %job.id, cause, "a stream cannot be read");
                    return match self.end_lost(job.id).await {
                        Ok(()) => LeaseOutcome::Done,
                        Err(error) => {
                            tracing::warn!(generation.id = %job.id, error = %explain(&error), "could not end it");
                            LeaseOutcome::Retry(LOG_RETRY)
                        }
                    };
                }
                // Not the end of the job: the newer attempt may be one whose lease is void, and die without another. Go round
                // again: wait while it lives, then find its seal or take over. Where our own lease is void, settling it
                // goes nowhere.
                Err(LogError::Fenced) => {
                    metrics::fenced();
                    tracing::warn!(generation.id = %job.id, "another worker took over; stopping");
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
        let request = match self.request_of(job).await? {
            Ok(request) => request,
            Err(Unreadable::Newer) => return Ok(LeaseOutcome::Retry(OWNER_RETRY)),
            Err(Unreadable::Missing) => {
                self.end_lost(job.id).await?;
                return Ok(LeaseOutcome::Done);
            }
        };
        let mut writer = self.log.take_over(job.id).await?;
        // Some time may have passed.
        if writer.epoch() != epoch {
            return Err(LogError::NotFound(job.id));
        }
        let _running = metrics::Running::begin();
        let began = Instant::now();
        let attempt = writer.attempt();
        match self.attempt(job.id, &request, &mut *writer, stop).await? {
            AttemptOutcome::Release(attempts, after) => {
                if !self.release(&mut *writer, attempts, stop).await {
                    // The next attempt waits for this one's silence, and takes it for one that died.
                    tracing::warn!(%attempt, "could not note in the token log that an attempt was given back");
                } else if let Some(cause) = writer.cancellation().cause() {
                    // The stop came while the attempt ended: its caller saw an owner, and left the end to it. Through another
                    // writer: this one may have an append under way.
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

    /// Notes the state of the attempts and that this one is over. Waits for a log that is away, for [`SEAL_TIMEOUT`]; when the
    /// process stops, for [`RELEASE_TIME`]. Returns whether it is noted.
    async fn release(&self, writer: &mut dyn LogWriter, attempts: Attempts, stop: &Stop) -> bool {
        let mut released = pin!(release(writer, attempts, Instant::now() + SEAL_TIMEOUT));
        let patient = stop.hard.run_until_cancelled(timeout(SEAL_TIMEOUT, &mut released)).await;
        let outcome = match patient {
            Some(outcome) => outcome,
            None => timeout(RELEASE_TIME, released).await,
        };
        matches!(outcome, Ok(Ok(())))
    }

    /// Waits until no other worker writes to the stream that the job was stored for. The job was delivered twice, or taken from a
    /// worker that the broker does not see any more but that lives: it is left alone for as long as it does. The wait needs
    /// no slot, and no delivery either once it is clear that the owner lives: then the job goes back to the queue for a
    /// while.
    async fn wait_while_owned(
        &self,
        job: &Job,
        slot: &mut Option<OwnedSemaphorePermit>,
        stop: &Stop,
    ) -> Result<Availability, LogError> {
        let mut waited = false;
        let epoch = loop {
            let page = self.log.read(job.id, Seq::START, NonZeroUsize::MIN).await?;
            // While the job was on its way, its id may have been given up and taken again: that stream has a job of its own,
            // maybe with another request. A stale job neither waits for its owner nor deposes it.
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
                tracing::debug!("another worker runs this generation; looking again later");
                return Ok(Availability::Retry(OWNER_RETRY));
            }
            waited = true;
            *slot = None;
            if stop.soft.run_until_cancelled(sleep(left)).await.is_none() {
                return Ok(Availability::Retry(Duration::ZERO));
            }
        };
        if slot.is_none() {
            // When this process has no slot for it soon, another one may.
            match stop.soft.run_until_cancelled(timeout(SLOT_WAIT, self.slot())).await {
                Some(Ok(free)) => *slot = Some(free),
                Some(Err(_)) | None => return Ok(Availability::Retry(Duration::ZERO)),
            }
        }
        Ok(Availability::Free { epoch })
    }

    /// One attempt, from an open writer to what should become of the stream.
    async fn attempt(
        &self,
        id: GenerationId,
        request: &GenerateRequest,
        writer: &mut dyn LogWriter,
        stop: &Stop,
    ) -> Result<AttemptOutcome, LogError> {
        let attempt = writer.attempt();
        let now = self.clock.now();
        let started_at = writer.so_far().started_at;
        if let Some(cause) = writer.cancellation().cause() {
            return Ok(failed(Failure::Cancelled { cause }));
        }
        if started_at.is_none() && self.clock.has_passed(writer.start_by()) {
            return Ok(failed(Failure::Expired));
        }
        let ran = started_at.map_or(Duration::ZERO, |started_at| self.clock.elapsed_since(started_at));
        let Some(left) = self.config.run_time.checked_sub(ran).filter(|left| !left.is_zero()) else {
            return Ok(failed(Failure::TimedOut));
        };
        let deadline = Instant::now() + left;
        let before = so_far(writer);
        if before.without_progress >= self.config.attempts {
            let message = "attempts were cut short again and again before they got any further; their workers may have crashed"
                .into();
            return Ok(failed(Failure::Exhausted { attempts: before.without_progress, message }));
        }
        let Some(model) = self.models.get(&request.model) else {
            // Another worker may have it: while models are added or moved, not all of them do.
            let model_waits = before.model_waits.saturating_add(1);
            let after = backoff(model_waits).min(MISSING_MODEL_RETRY).min(left);
            if model_waits == 1 {
                tracing::warn!(model = %request.model, "this worker does not have the model; leaving the job to other workers");
            }
            metrics::model_wait(&request.model, "missing");
            let waiting_until = Some(now.after(after));
            return Ok(AttemptOutcome::Release(Attempts { model_waits, waiting_until, ..before }, after));
        };
        if let Some(due) = crash_backoff(before).checked_sub(now.since(before.began_at))
            && !due.is_zero()
        {
            tracing::info!(%attempt, ?due, "the last attempt died before it got any further; waiting before the next one");
            // A beginning in the future stems from a clock that is ahead of ours. It is waited for once.
            let before = Attempts { began_at: before.began_at.min(now), ..before };
            return Ok(AttemptOutcome::Release(before, due));
        }
        let deaths = if before.asking { before.without_progress } else { 0 };
        let suspicion = Suspicion::after(deaths, self.config.attempts);
        let Some(unproven) = self.wait_for_trial(suspicion, writer, stop).await? else {
            // It is offered again soon, and holds no slot until then.
            return Ok(AttemptOutcome::Release(before, TRIAL_RETRY));
        };
        if suspicion != Suspicion::None {
            metrics::isolated();
            tracing::warn!(
                %attempt, ?suspicion, without_progress = before.without_progress,
                "the last attempt died; trying this generation with few others, or alone"
            );
        }

        let prefix = writer.so_far();
        let (text, prefix) = if prefix.is_empty() {
            (TextSoFar::Kept, Prefix::default())
        } else {
            match model.continuation(prefix) {
                Continuation::Exact | Continuation::Resampled => (TextSoFar::Kept, prefix.clone()),
                Continuation::Unsupported => (TextSoFar::Superseded, Prefix::default()),
            }
        };
        // Before the model is asked, so that an attempt during which the process dies is counted.
        let asking = Attempts {
            without_progress: before.without_progress + 1,
            asking: true,
            began_at: self.clock.now(),
            waiting_until: None,
            ..before
        };
        match stop.hard.run_until_cancelled(note(writer, asking, deadline)).await {
            Some(noted) => noted?,
            None => return Ok(AttemptOutcome::Release(before, Duration::ZERO)),
        }
        let started = Event::Started { attempt, text, region: self.config.region.clone() };
        metrics::began(attempt);
        if started_at.is_none() {
            tracing::info!(%attempt, model = %request.model, "generation started");
        } else {
            // Whoever had it before was killed, has failed, gave it back, or has not been heard of for a while.
            tracing::info!(
                %attempt,
                model = %request.model,
                from_region = writer.so_far().last_region,
                kept_bytes = prefix.text.len(),
                "taking a generation over"
            );
        }
        let bounds =
            Bounds { pending_bytes: self.config.pending_bytes, deadline, stall_time: self.config.stall_time };
        // Readers learn of the first attempt at once; of a further one when it has something to say, and then it has begun.
        let opening = if started_at.is_none() {
            StartedEvent::AtOnce(started)
        } else {
            StartedEvent::WithFirstDelta(started)
        };
        // A suspect may be a request that kills the process at a later word: it has to get further than it ever did.
        let further_than = if suspicion == Suspicion::None { prefix.size } else { before.best };
        let progress = Progress::new(prefix.size, further_than, unproven);
        // A model that takes long to begin is cancelled, fenced and timed out as one that speaks.
        let asked = model.generate(id, request, &prefix);
        let ended = stop.hard.run_until_cancelled(pump(writer, opening, asked, bounds, progress)).await;
        let Some(ended) = ended else {
            tracing::info!(%attempt, "giving the generation back");
            metrics::interrupted();
            return Ok(AttemptOutcome::Release(before, Duration::ZERO));
        };
        let PumpOutcome { end, kept } = ended?;
        Ok(self.outcome(&request.model, asking, before, kept, deadline, end))
    }

    /// Waits until the attempt may ask its model, and keeps its stream and its slot meanwhile: no other attempt could use the
    /// slot, and without it the worker would go on leasing jobs only to let them wait here. `None` when the wait is too long,
    /// or the process stops.
    async fn wait_for_trial(
        &self,
        suspicion: Suspicion,
        writer: &mut dyn LogWriter,
        stop: &Stop,
    ) -> Result<Option<Unproven>, LogError> {
        let began = Instant::now();
        let mut turn = pin!(self.trials.begin(suspicion));
        let cancellation = writer.cancellation().clone();
        while began.elapsed() < TRIAL_WAIT {
            tokio::select! {
                biased;
                unproven = &mut turn => return Ok(Some(unproven)),
                () = stop.soft.cancelled() => break,
                _ = cancellation.cancelled() => break,
                () = sleep(CHECK_EVERY) => drop(writer.append(&[]).await?),
            }
        }
        Ok(None)
    }

    fn outcome(
        &self,
        model: &ModelName,
        asking: Attempts,
        before: Attempts,
        kept: u64,
        deadline: Instant,
        end: AttemptEnd,
    ) -> AttemptOutcome {
        match end {
            AttemptEnd::Finished { reason, usage } => AttemptOutcome::Seal(Event::Finished { reason, usage }),
            AttemptEnd::Cancelled(cause) => failed(Failure::Cancelled { cause }),
            AttemptEnd::TimedOut => failed(Failure::TimedOut),
            AttemptEnd::Failed(ModelError::Rejected { message }) => failed(Failure::Rejected { message }),
            AttemptEnd::Failed(ModelError::Busy { retry_after }) => {
                tracing::info!(%model, ?retry_after, "the model is busy; the generation waits");
                metrics::model_wait(model, "busy");
                self.wait_for_model(before, kept, retry_after, deadline)
            }
            AttemptEnd::Failed(ModelError::Absent { retry_after, cause }) => {
                tracing::info!(%model, ?retry_after, cause = %explain(&*cause), "the model cannot be reached; the generation waits");
                metrics::model_wait(model, "absent");
                self.wait_for_model(before, kept, retry_after, deadline)
            }
            AttemptEnd::Failed(error @ ModelError::Unavailable(_)) => {
                let without_progress = if kept > before.best { 0 } else { asking.without_progress };
                if without_progress >= self.config.attempts {
                    tracing::error!(%model, error = %explain(&error), "the last attempt failed");
                    return failed(Failure::Exhausted {
                        attempts: without_progress,
                        message: explain(&error),
                    });
                }
                let after = backoff(without_progress);
                tracing::warn!(%model, ?after, error = %explain(&error), "the attempt failed; trying again");
                // An attempt that died before this one is not forgotten.
                let attempts = Attempts { without_progress, asking: before.asking, model_waits: 0, ..asking };
                AttemptOutcome::Release(attempts, after)
            }
        }
    }

    /// The generation waits for its model: longer each time, and never beyond its own time.
    fn wait_for_model(
        &self,
        before: Attempts,
        kept: u64,
        at_least: Duration,
        deadline: Instant,
    ) -> AttemptOutcome {
        let model_waits = if kept > before.best { 1 } else { before.model_waits.saturating_add(1) };
        let left = deadline.saturating_duration_since(Instant::now());
        // A model that says when to come back knows better: it has a back-off of its own, which its recovery ends.
        let wait = if at_least.is_zero() { backoff(model_waits) } else { at_least.max(MIN_MODEL_WAIT) };
        let after = wait.min(left);
        let waiting_until = Some(self.clock.now().after(after));
        // `asking` stays, as after a failure.
        AttemptOutcome::Release(Attempts { model_waits, waiting_until, ..before }, after)
    }
}

/// Whether a stream is free to be written to.
enum Availability {
    Free { epoch: Epoch },
    Retry(Duration),
}

/// The state of the attempts, given what they have left in the stream.
fn so_far(writer: &dyn LogWriter) -> Attempts {
    let (attempts, size) = (writer.attempts(), writer.so_far().size);
    if size > attempts.best {
        return Attempts { without_progress: 0, best: size, asking: false, model_waits: 0, ..attempts };
    }
    attempts
}

/// How long after the beginning of an attempt that died the next one begins.
fn crash_backoff(attempts: Attempts) -> Duration {
    if attempts.asking && attempts.without_progress > 0 {
        backoff(attempts.without_progress)
    } else {
        Duration::ZERO
    }
}

/// The wait after so many failures in a row: half a second, doubling, up to [`LONGEST_BACKOFF`].
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    Duration::from_millis(500 << doublings).min(LONGEST_BACKOFF)
}

fn failed(failure: Failure) -> AttemptOutcome {
    AttemptOutcome::Seal(Event::Failed { failure })
}

/// Notes that the model is about to be asked, however often it takes. A note of unknown outcome that is left behind would
/// count an attempt that has asked nothing.
async fn note(writer: &mut dyn LogWriter, asking: Attempts, deadline: Instant) -> Result<(), LogError> {
    write_until(deadline, writer, Write::Attempts(asking, Ownership::Kept)).await
}

/// Notes the state of the attempts, and tries again until that works.
async fn release(writer: &mut dyn LogWriter, attempts: Attempts, deadline: Instant) -> Result<(), LogError> {
    match write_until(deadline, writer, Write::Attempts(attempts, Ownership::Released)).await {
        // Another attempt owns the stream, and does not wait for this one.
        Err(LogError::Fenced | LogError::Sealed | LogError::NotFound(_)) => Ok(()),
        released => released,
    }
}

/// Seals, however often it takes.
async fn seal(writer: &mut dyn LogWriter, last: &Event) -> Result<(), LogError> {
    write_until(Instant::now() + SEAL_TIMEOUT, writer, Write::Seal(last)).await
}

/// What an attempt writes although the log may be away.
#[derive(Clone, Copy, Debug)]
enum Write<'a> {
    Attempts(Attempts, Ownership),
    Seal(&'a Event),
}

/// Writes to the log, and tries again while it is unavailable, until the deadline.
async fn write_until(
    deadline: Instant,
    writer: &mut dyn LogWriter,
    write: Write<'_>,
) -> Result<(), LogError> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        let written = match write {
            Write::Attempts(attempts, ownership) => writer.record_attempts(attempts, ownership).await,
            Write::Seal(last) => writer.seal(last).await.map(drop),
        };
        match written {
            Err(LogError::Unavailable(cause)) if Instant::now() < deadline => {
                tracing::warn!(attempt = %writer.attempt(), %cause, "the token log is unavailable; trying again");
                sleep(backoff.advance()).await;
            }
            other => return other,
        }
    }
}

/// Asks the queue until it answers.
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
