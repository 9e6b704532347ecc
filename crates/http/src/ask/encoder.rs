//! The stream that a reader of `/ask` gets.
//!
//! | Entry | Frame |
//! |---|---|
//! | none, only when reading from the start | `event: queued`, data `{"uuid"}` |
//! | an attempt that goes on from the text so far | `event: started`, data `{"attempt", "region"?}` |
//! | an attempt that starts over | `event: rewind`, the same data: clear what you show |
//! | text | text |
//! | a delta of reasoning | `event: reasoning`, data `{"text"}`: not part of the answer |
//! | a delta of a tool call | `event: tool_call`, data `{"index", "id"?, "name"?, "arguments"?}`: deltas with one index belong together |
//! | the end | `event: done`, data `{"finish_reason", "usage": {"input_tokens", "output_tokens"}}` |
//! | a failure | `event: expired`, `timeout`, `cancelled` or `error`, data `{"type", "message"}`, for `cancelled` also `"cause"` |
//!
//! Every frame of an entry has its `id:`, so a reader may resume after any of them. Two more belong to no entry:
//! `event: waiting_for_model`, data `{"until"}`, when the model is busy or cannot be reached and is asked again at that time;
//! and `event: error` without an id, when the log itself has lost the stream.

use std::time::Duration;

use serde::Serialize;
use tokenwire_core::{
    Attempt, CancelCause, Entry, Event, Failure, FinishReason, GenerationId, Seq, TextSoFar, Timestamp, Usage,
};
use utoipa::ToSchema;

use crate::{
    front::{
        describe::{cancel_cause, finish_reason},
        events::{Events, event_stream},
        problem::Problem,
    },
    stream::{frames::Frames, reader::Encoder},
};

#[derive(Debug)]
pub(super) struct AskEncoder {
    id: GenerationId,
    reconnect_after: Duration,
}

impl AskEncoder {
    pub(super) fn new(id: GenerationId, reconnect_after: Duration) -> Self {
        Self { id, reconnect_after }
    }
}

/// The generation is stored.
#[derive(Serialize, ToSchema)]
struct AskQueued {
    #[schema(value_type = String, format = "uuid")]
    uuid: GenerationId,
}

/// A worker has begun.
#[derive(Serialize, ToSchema)]
struct AskStarted<'a> {
    /// The number of the attempt, from 1.
    #[schema(value_type = u32, minimum = 1)]
    attempt: Attempt,
    /// The region of the worker, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    region: Option<&'a str>,
}

/// The model is busy or cannot be reached.
#[derive(Serialize, ToSchema)]
struct AskWaiting {
    /// When it is asked again, in milliseconds since 1970.
    until: u64,
}

/// A delta of the model's reasoning.
#[derive(Serialize, ToSchema)]
struct AskReasoning<'a> {
    text: &'a str,
}

/// The answer is complete.
#[derive(Serialize, ToSchema)]
struct AskDone {
    #[schema(schema_with = finish_reason)]
    finish_reason: FinishReason,
    #[schema(value_type = AskUsage)]
    usage: Usage,
}

/// What a generation cost, in the model's own tokens.
#[expect(dead_code, reason = "stands for a type of the core, which knows no OpenAPI")]
#[derive(ToSchema)]
struct AskUsage {
    /// Tokens of the request.
    input_tokens: u64,
    /// Tokens of the answer, over all attempts.
    output_tokens: u64,
}

/// A delta of a tool call. All deltas with one index together give its id, its name and its arguments.
#[expect(dead_code, reason = "stands for a type of the core, which knows no OpenAPI")]
#[derive(ToSchema)]
struct AskToolCall {
    /// Which call of this answer, from 0.
    index: u32,
    /// The model's id of the call, in its first delta.
    #[schema(required = false, nullable = false)]
    id: Option<String>,
    /// The name of the tool, in the call's first delta.
    #[schema(required = false, nullable = false)]
    name: Option<String>,
    /// A delta of the arguments. All deltas together should be JSON: the server does not check it.
    #[schema(required = false)]
    arguments: String,
}

/// The answer will not be complete.
#[derive(Serialize, ToSchema)]
struct AskEnded<'a> {
    /// Why, for programs.
    r#type: &'static str,
    /// Why, for people.
    message: &'a str,
    /// Who stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = cancel_cause, required = false)]
    cause: Option<CancelCause>,
}

event_stream!(
    /// The stream of an answer, for the OpenAPI document.
    AskEvents,
    events()
);

/// The events that [`AskEncoder`] writes.
fn events() -> Events {
    Events::new(
        "Every event that stems from an entry of the log has its `id`, from 1 without a gap: a reader that was cut resumes \
         after it. Exactly one of `done`, `cancelled`, `timeout`, `expired` and `error` is the last. A body that ends without \
         one was cut. Comments (`:`) fill silence.",
    )
    .text("A delta of the answer. Deltas include their own spaces: join them with nothing between.")
    .named::<AskQueued>("queued", "The generation is stored. Only when reading from the start, and without an id.")
    .named::<AskStarted<'_>>("started", "A worker began, or went on from the text so far.")
    .named::<AskStarted<'_>>("rewind", "A worker starts over: clear what you show.")
    .named::<AskWaiting>(
        "waiting_for_model",
        "The model is busy or cannot be reached, and is asked again. Without an id; a reader that comes later may not get it.",
    )
    .named::<AskReasoning<'_>>("reasoning", "A delta of the model's reasoning, if it shows any: not part of the answer.")
    .named::<AskToolCall>("tool_call", "A delta of a tool call. Deltas with one `index` belong together.")
    .named::<AskDone>("done", "The answer is complete.")
    .named::<AskEnded<'_>>("cancelled", "It was stopped.")
    .named::<AskEnded<'_>>("timeout", "It ran longer than it may.")
    .named::<AskEnded<'_>>("expired", "No worker began in time.")
    .named::<AskEnded<'_>>(
        "error",
        "It failed (`rejected`, `exhausted` or `lost`), and will not be tried again. Without an id where the log itself has lost \
         the stream.",
    )
}

impl Encoder<Frames> for AskEncoder {
    fn begin(&mut self, after: Seq, frames: &mut Frames) {
        frames.retry(self.reconnect_after);
        if after == Seq::START {
            frames.named("queued", None, &AskQueued { uuid: self.id });
        }
    }

    fn encode(&mut self, entry: &Entry, frames: &mut Frames) {
        let id = Some(entry.seq);
        match &entry.event {
            Event::Started { attempt, text, region } => {
                let name = match text {
                    TextSoFar::Kept => "started",
                    TextSoFar::Superseded => "rewind",
                };
                frames.named(name, id, &AskStarted { attempt: *attempt, region: region.as_deref() });
            }
            Event::Delta { text, tokens: _ } => frames.text(entry.seq, text),
            Event::Reasoning { text } => frames.named("reasoning", id, &AskReasoning { text }),
            Event::ToolCall(delta) => frames.named("tool_call", id, delta),
            Event::Finished { reason, usage } => {
                frames.named("done", id, &AskDone { finish_reason: *reason, usage: *usage });
            }
            Event::Failed { failure } => {
                let (name, Problem { code, message, .. }, cause) = ended(failure);
                frames.named(name, id, &AskEnded { r#type: code, message: &message, cause });
            }
        }
    }

    fn waiting(&mut self, until: Timestamp, frames: &mut Frames) {
        frames.named("waiting_for_model", None, &AskWaiting { until: until.as_millis() });
    }

    fn lost(&mut self, frames: &mut Frames) {
        let Problem { code, message, .. } = Problem::stream_lost();
        frames.named("error", None, &AskEnded { r#type: code, message: &message, cause: None });
    }
}

/// The name of the event of a failure, and its data.
fn ended(failure: &Failure) -> (&'static str, Problem, Option<CancelCause>) {
    let problem = Problem::from(failure);
    let name = match failure {
        Failure::Expired | Failure::TimedOut | Failure::Cancelled { .. } => problem.code,
        Failure::Rejected { .. } | Failure::Exhausted { .. } | Failure::Lost => "error",
    };
    match failure {
        Failure::Cancelled { cause } => {
            let message = match cause {
                CancelCause::Requested => "stopped on request",
                CancelCause::Abandoned => "stopped because nobody was reading",
            };
            (name, Problem { message: message.to_owned(), ..problem }, Some(*cause))
        }
        Failure::Lost => {
            let message = "the server lost the job of this generation: ask again";
            (name, Problem { message: message.to_owned(), ..problem }, None)
        }
        _ => (name, problem, None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokenwire_core::ToolCallDelta;

    use super::*;

    #[test]
    fn every_event_that_is_written_is_described_and_no_other() {
        let mut encoder = AskEncoder::new(GenerationId::fresh(), Duration::from_secs(1));
        let mut frames = Frames::default();
        encoder.begin(Seq::START, &mut frames);
        let started = |text| Event::Started { attempt: Attempt::new(1), text, region: None };
        let failed = |failure| Event::Failed { failure };
        let call = ToolCallDelta { index: 0, id: None, name: None, arguments: String::new() };
        for event in [
            started(TextSoFar::Kept),
            started(TextSoFar::Superseded),
            Event::Delta { text: "a".to_owned(), tokens: Vec::new() },
            Event::Reasoning { text: "a".to_owned() },
            Event::ToolCall(call),
            Event::Finished { reason: FinishReason::Stop, usage: Usage::default() },
            failed(Failure::Cancelled { cause: CancelCause::Requested }),
            failed(Failure::TimedOut),
            failed(Failure::Expired),
            failed(Failure::Lost),
        ] {
            encoder.encode(&Entry { seq: Seq::new(1), at: Timestamp::from_millis(0), event }, &mut frames);
        }
        encoder.waiting(Timestamp::from_millis(0), &mut frames);
        let written = String::from_utf8(frames.take().to_vec()).unwrap();
        let written: BTreeSet<_> = written.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        assert_eq!(events().names(), written);
    }
}
