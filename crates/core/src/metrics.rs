//! What this crate counts: name, unit and meaning side by side. No id is ever a label.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tokio::time::Instant;

use crate::{
    event::{Attempt, Event, Failure},
    request::ModelName,
};

const ACCEPTED: &str = "tokenwire_generations_accepted_total";
const SHED: &str = "tokenwire_generations_shed_total";
const ENDED: &str = "tokenwire_generations_ended_total";
const RUNNING: &str = "tokenwire_generations_running";
const ATTEMPTS: &str = "tokenwire_attempts_total";
const FIRST_DELTA: &str = "tokenwire_time_to_first_delta_seconds";
const DELTAS: &str = "tokenwire_deltas_total";
const FENCED: &str = "tokenwire_attempts_fenced_total";
const ORPHANED: &str = "tokenwire_jobs_without_stream_total";
const DEAD: &str = "tokenwire_jobs_dead_lettered_total";
const DAMAGED: &str = "tokenwire_streams_damaged_total";
const GIVEN_BACK: &str = "tokenwire_attempts_given_back_total";
const TRIALS: &str = "tokenwire_attempts_tried_alone_total";
const MODEL_WAITS: &str = "tokenwire_model_waits_total";
const COPIES: &str = "tokenwire_jobs_delivered_again_total";
const STORED_AGAIN: &str = "tokenwire_jobs_stored_again_total";
const BURIED: &str = "tokenwire_generations_buried_total";

/// Tells the recorder of this process what they mean.
pub fn describe() {
    describe_counter!(ACCEPTED, Unit::Count, "Generations that were accepted here, by model");
    describe_counter!(SHED, Unit::Count, "Prompts that were refused because too many wait for a worker");
    describe_counter!(ENDED, Unit::Count, "Generations that a worker of this process ended, by outcome");
    describe_gauge!(RUNNING, Unit::Count, "Generations that run in this process now");
    describe_counter!(
        ATTEMPTS,
        Unit::Count,
        "Attempts that began here: the first of a generation, or one that took over"
    );
    describe_histogram!(
        FIRST_DELTA,
        Unit::Seconds,
        "From the start of an attempt to its first piece of text"
    );
    describe_counter!(DELTAS, Unit::Count, "Pieces of text that were appended");
    describe_counter!(FENCED, Unit::Count, "Attempts that were stopped because a newer one owns the stream");
    describe_counter!(ORPHANED, Unit::Count, "Jobs that were dropped because their stream is gone");
    describe_counter!(DEAD, Unit::Count, "Jobs that the queue gave up on; they are stored again");
    describe_counter!(DAMAGED, Unit::Count, "Jobs that were dropped because their stream cannot be read");
    describe_counter!(
        GIVEN_BACK,
        Unit::Count,
        "Attempts that a stopping process gave back; they cost the generation nothing"
    );
    describe_counter!(
        TRIALS,
        Unit::Count,
        "Attempts that were made alone, or beside few others, because the last one died before it got any further"
    );
    describe_counter!(
        MODEL_WAITS,
        Unit::Count,
        "Attempts that ended because the model was not to be had, by model and reason: busy, absent (cannot be reached), \
         missing (this worker does not have it)"
    );
    describe_counter!(COPIES, Unit::Count, "Jobs that were delivered again while they ran in this process");
    describe_counter!(
        STORED_AGAIN,
        Unit::Count,
        "Jobs that were stored again because the queue seems to have lost them"
    );
    describe_counter!(
        BURIED,
        Unit::Count,
        "Generations that were ended here because no worker had them: lost, expired, or stopped while they waited; by failure"
    );
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

pub(crate) fn orphaned() {
    counter!(ORPHANED).increment(1);
}

pub(crate) fn damaged() {
    counter!(DAMAGED).increment(1);
}

pub(crate) fn given_back() {
    counter!(GIVEN_BACK).increment(1);
}

pub(crate) fn trial() {
    counter!(TRIALS).increment(1);
}

pub(crate) fn model_wait(model: &ModelName, reason: &'static str) {
    counter!(MODEL_WAITS, "model" => model.to_string(), "reason" => reason).increment(1);
}

pub(crate) fn own_copy() {
    counter!(COPIES).increment(1);
}

pub(crate) fn stored_again() {
    counter!(STORED_AGAIN).increment(1);
}

pub(crate) fn dead_lettered() {
    counter!(DEAD).increment(1);
}

pub(crate) fn buried(failure: &Failure) {
    counter!(BURIED, "failure" => failure.name()).increment(1);
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
