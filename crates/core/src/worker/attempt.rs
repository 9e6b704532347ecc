//! One attempt: decides whether to ask the model, asks it, and decides what follows from its end.
//!
//! The attempt appends nothing else than what [`pump`] appends. The caller seals the stream, or records the state of the
//! attempts.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    AttemptOutcome, MIN_MODEL_WAIT, MISSING_MODEL_RETRY, Stop, TRIAL_RETRY, TRIAL_WAIT, Worker,
    trials::{Suspicion, Unproven},
    writes::record_asking,
};
use crate::{
    error::explain,
    event::{Event, Failure, TextSoFar},
    id::GenerationId,
    metrics,
    model::{Continuation, ModelError},
    pump::{AttemptEnd, Bounds, CHECK_EVERY, Progress, PumpOutcome, StartedEvent, pump},
    request::{GenerateRequest, ModelName},
    retry::LONGEST_BACKOFF,
    token_log::{Attempts, LogError, LogWriter, Prefix},
};

impl Worker {
    /// Runs one attempt with an open writer.
    pub(super) async fn attempt(
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
            let message = "every attempt ended without progress; the workers may have crashed".into();
            return Ok(failed(Failure::Exhausted { attempts: before.without_progress, message }));
        }
        let Some(model) = self.models.get(&request.model) else {
            // While models are added or moved, another worker may have it.
            let model_waits = before.model_waits.saturating_add(1);
            let after = backoff(model_waits).min(MISSING_MODEL_RETRY).min(left);
            if model_waits == 1 {
                tracing::warn!(model = %request.model, "this worker does not have the model; other workers get the job");
            }
            metrics::model_wait(&request.model, "missing");
            let waiting_until = Some(now.after(after));
            return Ok(AttemptOutcome::Release(Attempts { model_waits, waiting_until, ..before }, after));
        };
        if let Some(due) = crash_backoff(before).checked_sub(now.since(before.began_at))
            && !due.is_zero()
        {
            tracing::info!(%attempt, ?due, "the last attempt died without progress; waiting before the next one");
            // A time in the future comes from a clock that is ahead of ours. Wait for it once.
            let before = Attempts { began_at: before.began_at.min(now), ..before };
            return Ok(AttemptOutcome::Release(before, due));
        }
        let deaths = if before.asking { before.without_progress } else { 0 };
        let suspicion = Suspicion::after(deaths, self.config.attempts);
        let Some(unproven) = self.wait_for_trial(suspicion, writer, stop).await? else {
            // The job is delivered again soon. Until then it takes no slot.
            return Ok(AttemptOutcome::Release(before, TRIAL_RETRY));
        };
        if suspicion != Suspicion::None {
            metrics::isolated();
            tracing::warn!(
                %attempt, ?suspicion, without_progress = before.without_progress,
                "the last attempt died; running this generation alone or with few others"
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
        // Recorded before the model is asked, so that an attempt whose process dies is counted.
        let asking = Attempts {
            without_progress: before.without_progress + 1,
            asking: true,
            began_at: self.clock.now(),
            waiting_until: None,
            ..before
        };
        match stop.hard.run_until_cancelled(record_asking(writer, asking, deadline)).await {
            Some(noted) => noted?,
            None => return Ok(AttemptOutcome::Release(before, Duration::ZERO)),
        }
        let started = Event::Started { attempt, text, region: self.config.region.clone() };
        metrics::began(attempt);
        if started_at.is_none() {
            tracing::info!(%attempt, model = %request.model, "generation started");
        } else {
            // The attempt before it was killed, failed, was interrupted, or is silent.
            tracing::info!(
                %attempt,
                model = %request.model,
                from_region = writer.so_far().last_region,
                kept_bytes = prefix.text.len(),
                "took a generation over"
            );
        }
        let bounds =
            Bounds { pending_bytes: self.config.pending_bytes, deadline, stall_time: self.config.stall_time };
        // Readers learn of the first attempt at once, of a later one with its first delta.
        let opening = if started_at.is_none() {
            StartedEvent::AtOnce(started)
        } else {
            StartedEvent::WithFirstDelta(started)
        };
        // The request of a suspect may kill its process at a later delta. It has to exceed every earlier attempt.
        let further_than = if suspicion == Suspicion::None { prefix.size } else { before.best };
        let progress = Progress::new(prefix.size, further_than, unproven);
        // Also while the model starts, the attempt can be cancelled, fenced and timed out.
        let asked = model.generate(id, request, &prefix);
        let ended = stop.hard.run_until_cancelled(pump(writer, opening, asked, bounds, progress)).await;
        let Some(ended) = ended else {
            tracing::info!(%attempt, "stopping: returned the generation to the queue");
            metrics::interrupted();
            return Ok(AttemptOutcome::Release(before, Duration::ZERO));
        };
        let PumpOutcome { end, kept } = ended?;
        Ok(self.outcome(&request.model, asking, before, kept, deadline, end))
    }

    /// Waits until the attempt may ask its model. Keeps the stream and the slot meanwhile: no other attempt could use the slot,
    /// and the worker would lease more jobs that have to wait here. `None` when the wait is too long or the process stops.
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
                tracing::info!(%model, ?retry_after, "the model is busy; the generation waits for it");
                metrics::model_wait(model, "busy");
                self.wait_for_model(before, kept, retry_after, deadline)
            }
            AttemptEnd::Failed(ModelError::Absent { retry_after, cause }) => {
                tracing::info!(%model, ?retry_after, cause = %explain(&*cause), "the model cannot be reached; the generation waits for it");
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
                tracing::warn!(%model, ?after, error = %explain(&error), "the attempt failed; the next one follows");
                // An earlier attempt that died still counts.
                let attempts = Attempts { without_progress, asking: before.asking, model_waits: 0, ..asking };
                AttemptOutcome::Release(attempts, after)
            }
        }
    }

    /// Lets the generation wait for its model: longer each time, at most until its deadline.
    fn wait_for_model(
        &self,
        before: Attempts,
        kept: u64,
        at_least: Duration,
        deadline: Instant,
    ) -> AttemptOutcome {
        let model_waits = if kept > before.best { 1 } else { before.model_waits.saturating_add(1) };
        let left = deadline.saturating_duration_since(Instant::now());
        // A model that says how long to wait has its own back-off, which ends when it recovers.
        let wait = if at_least.is_zero() { backoff(model_waits) } else { at_least.max(MIN_MODEL_WAIT) };
        let after = wait.min(left);
        let waiting_until = Some(self.clock.now().after(after));
        // `asking` stays as it was before this attempt.
        AttemptOutcome::Release(Attempts { model_waits, waiting_until, ..before }, after)
    }
}

/// The recorded state of the attempts, with the progress that is in the stream.
fn so_far(writer: &dyn LogWriter) -> Attempts {
    let (attempts, size) = (writer.attempts(), writer.so_far().size);
    if size > attempts.best {
        return Attempts { without_progress: 0, best: size, asking: false, model_waits: 0, ..attempts };
    }
    attempts
}

/// The wait between the start of an attempt that died and the start of the next one.
fn crash_backoff(attempts: Attempts) -> Duration {
    if attempts.asking && attempts.without_progress > 0 {
        backoff(attempts.without_progress)
    } else {
        Duration::ZERO
    }
}

/// The wait after this many failures in a row: 0.5 s, doubling, up to [`LONGEST_BACKOFF`].
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    Duration::from_millis(500 << doublings).min(LONGEST_BACKOFF)
}

fn failed(failure: Failure) -> AttemptOutcome {
    AttemptOutcome::Seal(Event::Failed { failure })
}
