//! The metrics of this crate: name, unit and description. No id is ever a label.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tokio::time::Instant;

use crate::{
    event::{Attempt, Event, Failure},
    request::ModelName,
};

const ACCEPTED: &str = "tokenwire_generations_accepted_total";
const SHED: &str = "tokenwire_generations_shed_total";
const ENDED: &str = "tokenwire_generations_ended_total";
const ENDED_OUTSIDE_ATTEMPTS: &str = "tokenwire_generations_ended_outside_attempts_total";
const RUNNING: &str = "tokenwire_generations_running";
const ATTEMPTS: &str = "tokenwire_attempts_total";
const FENCED: &str = "tokenwire_attempts_fenced_total";
const INTERRUPTED: &str = "tokenwire_attempts_interrupted_total";
const ISOLATED: &str = "tokenwire_attempts_isolated_total";
const FIRST_DELTA: &str = "tokenwire_time_to_first_delta_seconds";
const DELTAS: &str = "tokenwire_deltas_total";
const DEAD_LETTERED: &str = "tokenwire_jobs_dead_lettered_total";
const REDELIVERED: &str = "tokenwire_jobs_redelivered_total";
const REQUEUED: &str = "tokenwire_jobs_requeued_total";
const WITHOUT_STREAM: &str = "tokenwire_jobs_without_stream_total";
const DAMAGED: &str = "tokenwire_streams_damaged_total";
const MODEL_WAITS: &str = "tokenwire_model_waits_total";

/// Registers the descriptions with the recorder of this process.
pub fn describe() {
    let counters = [
        (ACCEPTED, "Generations that this process accepted, by model"),
        (SHED, "Prompts refused because the queue was at its maximum length"),
        (ENDED, "Generations ended by a worker of this process, by outcome"),
        (
            ENDED_OUTSIDE_ATTEMPTS,
            "Generations that this process ended while no attempt ran, by outcome: expired or lost (noticed by a reader), \
             lost (stream or request unreadable), cancelled (stopped while it waited for a worker or a model)",
        ),
        (
            ATTEMPTS,
            "Attempts started by this process, by kind: first, takeover (continues after another attempt)",
        ),
        (FENCED, "Attempts stopped because a newer attempt owns the stream"),
        (INTERRUPTED, "Attempts interrupted because this process stopped. Another worker continues them"),
        (
            ISOLATED,
            "Attempts run alone or with few others in the process, because earlier attempts died without progress",
        ),
        (DELTAS, "Deltas appended: text, reasoning and parts of tool calls"),
        (
            DEAD_LETTERED,
            "Jobs that the queue gave up on. They are stored again unless the generation has ended",
        ),
        (REDELIVERED, "Jobs delivered again while they ran in this process"),
        (REQUEUED, "Jobs stored again because the queue seems to have lost them"),
        (WITHOUT_STREAM, "Jobs dropped because their stream is gone"),
        (DAMAGED, "Jobs dropped because their stream cannot be read"),
        (
            MODEL_WAITS,
            "Attempts that ended because the model could not be used, by model and reason: busy, absent (cannot be \
             reached), missing (not configured on this worker)",
        ),
    ];
    for (name, description) in counters {
        describe_counter!(name, Unit::Count, description);
    }
    describe_gauge!(RUNNING, Unit::Count, "Generations running in this process");
    describe_histogram!(FIRST_DELTA, Unit::Seconds, "Time from the start of an attempt to its first delta");
}

pub(crate) fn accepted(model: &ModelName) {
    counter!(ACCEPTED, "model" => model.to_string()).increment(1);
}

pub(crate) fn shed() {
    counter!(SHED).increment(1);
}

pub(crate) fn ended(last: &Event) {
    counter!(ENDED, "outcome" => last.outcome()).increment(1);
}

pub(crate) fn began(attempt: Attempt) {
    let kind = if attempt == Attempt::new(1) { "first" } else { "takeover" };
    counter!(ATTEMPTS, "kind" => kind).increment(1);
}

pub(crate) fn first_delta(since: Instant) {
    histogram!(FIRST_DELTA).record(since.elapsed());
}

pub(crate) fn deltas(batch: &[Event]) {
    let count = batch
        .iter()
        .filter(|event| matches!(event, Event::Delta { .. } | Event::Reasoning { .. } | Event::ToolCall(_)))
        .count();
    counter!(DELTAS).increment(count as u64);
}

pub(crate) fn fenced() {
    counter!(FENCED).increment(1);
}

pub(crate) fn without_stream() {
    counter!(WITHOUT_STREAM).increment(1);
}

pub(crate) fn damaged() {
    counter!(DAMAGED).increment(1);
}

pub(crate) fn interrupted() {
    counter!(INTERRUPTED).increment(1);
}

pub(crate) fn isolated() {
    counter!(ISOLATED).increment(1);
}

pub(crate) fn model_wait(model: &ModelName, reason: &'static str) {
    counter!(MODEL_WAITS, "model" => model.to_string(), "reason" => reason).increment(1);
}

pub(crate) fn redelivered() {
    counter!(REDELIVERED).increment(1);
}

pub(crate) fn requeued() {
    counter!(REQUEUED).increment(1);
}

pub(crate) fn dead_lettered() {
    counter!(DEAD_LETTERED).increment(1);
}

pub(crate) fn ended_outside_attempts(failure: &Failure) {
    counter!(ENDED_OUTSIDE_ATTEMPTS, "outcome" => failure.name()).increment(1);
}

/// Counts a generation as running for as long as it lives.
#[derive(Debug)]
pub(crate) struct Running(());

impl Running {
    pub(crate) fn begin() -> Self {
        gauge!(RUNNING).increment(1);
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        gauge!(RUNNING).decrement(1);
    }
}
