//! What a stream looks like to a reader of `/ask`.
//!
//! | Entry | Frame |
//! |---|---|
//! | none, only when reading from the start | `event: queued`, data `{"uuid"}` |
//! | an attempt that goes on from the text so far | `event: started`, data `{"attempt", "region"?}` |
//! | an attempt that starts over | `event: rewind`, the same data: clear what you show |
//! | text | text |
//! | a piece of reasoning | `event: reasoning`, data `{"text"}`: not part of the answer |
//! | a piece of a tool call | `event: tool_call`, data `{"index", "id"?, "name"?, "arguments"?}`: pieces of one index belong together |
//! | the end | `event: done`, data `{"finish_reason", "usage": {"input_tokens", "output_tokens"}}` |
//! | a failure | `event: expired`, `timeout`, `cancelled` or `error`, data `{"type", "message"}`, for `cancelled` also `"cause"` |
//!
//! Every frame that stems from an entry has its `id:`, so a reader may be cut after any of them. Two more stem from none:
//! `event: waiting_for_model`, data `{"until"}`, when the model is busy or cannot be reached and is asked again at that time;
//! and `event: error` without an id, when the log itself has lost the stream.

use std::time::Duration;

use serde::Serialize;
use tokenwire_core::{
    Attempt, CancelCause, Entry, Event, Failure, FinishReason, GenerationId, Seq, TextSoFar, Timestamp, Usage,
};
use utoipa::ToSchema;

use crate::{
    front::problem::Problem,
    openapi::{
        EventKind, schemas,
        shapes::{Tokens, ToolCallPiece},
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
#[schema(as = AskQueued)]
struct Queued {
    #[schema(value_type = String, format = "uuid")]
    uuid: GenerationId,
}

/// A worker has begun.
#[derive(Serialize, ToSchema)]
#[schema(as = AskStarted)]
struct Started<'a> {
    /// From 1: how often the generation was begun.
    #[schema(value_type = u32, minimum = 1)]
    attempt: Attempt,
    /// Where the worker is, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    region: Option<&'a str>,
}

/// The model is busy or cannot be reached.
#[derive(Serialize, ToSchema)]
#[schema(as = AskWaiting)]
struct Waiting {
    /// When it is asked again, in milliseconds since 1970.
    until: u64,
}

/// A piece of what the model thinks.
#[derive(Serialize, ToSchema)]
#[schema(as = AskReasoning)]
struct Reasoning<'a> {
    text: &'a str,
}

/// The whole answer is there.
#[derive(Serialize, ToSchema)]
#[schema(as = AskDone)]
struct Done {
    #[schema(schema_with = schemas::finish_reason)]
    finish_reason: FinishReason,
    #[schema(value_type = Tokens)]
    usage: Usage,
}

/// The answer will not become whole.
#[derive(Serialize, ToSchema)]
#[schema(as = AskEnded)]
struct Ended<'a> {
    /// Why, for programs.
    r#type: &'static str,
    /// Why, for people.
    message: &'a str,
    /// Who stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schemas::cancel_cause)]
    cause: Option<CancelCause>,
}

/// What [`encode`](Encoder::encode) makes, for those who read it.
pub(super) fn events() -> Vec<EventKind> {
    vec![
        EventKind::text(
            "A piece of the answer. Pieces carry their own spaces: join them with nothing between.",
        ),
        EventKind::named::<Queued>("queued", "Only when reading from the start, and without an id."),
        EventKind::named::<Started<'_>>("started", "A worker began, or went on from the text so far."),
        EventKind::named::<Started<'_>>("rewind", "A worker starts over: clear what you show."),
        EventKind::named::<Waiting>(
            "waiting_for_model",
            "The model is busy or cannot be reached, and is asked again. Without an id; a reader that comes later may not get it.",
        ),
        EventKind::named::<Reasoning<'_>>(
            "reasoning",
            "A piece of what the model thinks before it answers, where it tells: not part of the answer.",
        ),
        EventKind::named::<ToolCallPiece>(
            "tool_call",
            "A piece of a call that the model wants made. The pieces of one `index` belong together.",
        ),
        EventKind::named::<Done>("done", "The whole answer is there."),
        EventKind::named::<Ended<'_>>("cancelled", "It was stopped."),
        EventKind::named::<Ended<'_>>("timeout", "It ran longer than it may."),
        EventKind::named::<Ended<'_>>("expired", "No worker began in time."),
        EventKind::named::<Ended<'_>>(
            "error",
            "It failed (`rejected`, `exhausted` or `lost`), and will not be tried again. Without an id where the log itself has \
             lost the stream.",
        ),
    ]
}

impl Encoder<Frames> for AskEncoder {
    fn begin(&mut self, after: Seq, frames: &mut Frames) {
        frames.retry(self.reconnect_after);
        if after == Seq::START {
            frames.named("queued", None, &Queued { uuid: self.id });
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
                frames.named(name, id, &Started { attempt: *attempt, region: region.as_deref() });
            }
            Event::Delta { text, tokens: _ } => frames.text(entry.seq, text),
            Event::Reasoning { text } => frames.named("reasoning", id, &Reasoning { text }),
            Event::ToolCall(delta) => frames.named("tool_call", id, delta),
            Event::Finished { reason, usage } => {
                frames.named("done", id, &Done { finish_reason: *reason, usage: *usage });
            }
            Event::Failed { failure } => {
                let (name, Problem { code, message, .. }, cause) = ended(failure);
                frames.named(name, id, &Ended { r#type: code, message: &message, cause });
            }
        }
    }

    fn waiting(&mut self, until: Timestamp, frames: &mut Frames) {
        frames.named("waiting_for_model", None, &Waiting { until: until.as_millis() });
    }

    fn lost(&mut self, frames: &mut Frames) {
        let Problem { code, message, .. } = Problem::stream_lost();
        frames.named("error", None, &Ended { r#type: code, message: &message, cause: None });
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
