//! A text completion, streamed or whole.
//!
//! | Entry | Chunk |
//! |---|---|
//! | text | `text` |
//! | a delta of reasoning or of a tool call | nothing: the format has no place for them |
//! | the end | `finish_reason`, then what it cost if that was asked for, then `[DONE]` |
//! | a failure | `{"error": {...}}`, upon which the SDKs raise; no `[DONE]` |
//! | an attempt that starts over | nothing if no text was sent; else an error, because this format cannot take text back |

use serde::Serialize;
use tokenwire_core::{Entry, Event, FinishReason, GenerationId, ModelName, Seq, TextSoFar, Timestamp, Usage};
use utoipa::ToSchema;

use crate::{
    front::{
        describe::{constant, finish_reason_or_null, null},
        events::{Events, event_stream},
        problem::Problem,
        whole,
    },
    openai::{
        error::ErrorEnvelope,
        usage::{ChunkUsage, CompletionUsage},
    },
    stream::{frames::Frames, reader::Encoder},
};

/// Which answer it is. The same on every replica and at every call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CompletionIdentity {
    /// `cmpl-` and the id under which any front end can read the generation.
    id: String,
    #[schema(schema_with = text_completion)]
    object: &'static str,
    /// When the generation was accepted, in seconds.
    created: u64,
    #[schema(value_type = String)]
    model: ModelName,
}

impl CompletionIdentity {
    pub(super) fn new(id: GenerationId, created: Timestamp, model: ModelName) -> Self {
        let object = "text_completion";
        Self { id: format!("cmpl-{id}"), object, created: created.as_millis() / 1000, model }
    }
}

fn text_completion() -> utoipa::openapi::Object {
    constant("text_completion")
}

/// A whole answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TextCompletion {
    #[serde(flatten)]
    identity: CompletionIdentity,
    /// One.
    #[schema(value_type = Vec<CompletionChoice<'_>>)]
    choices: [CompletionChoice<'static>; 1],
    usage: CompletionUsage,
}

/// A chunk of an answer.
#[derive(Serialize, ToSchema)]
struct TextCompletionChunk<'a> {
    #[serde(flatten)]
    identity: &'a CompletionIdentity,
    /// One, or none in the chunk that says what the answer cost.
    choices: &'a [CompletionChoice<'a>],
    /// Where it was asked for: null in all chunks but the last.
    #[serde(skip_serializing_if = "ChunkUsage::was_not_asked")]
    #[schema(value_type = Option<CompletionUsage>)]
    usage: ChunkUsage,
}

#[derive(Debug, Serialize, ToSchema)]
struct CompletionChoice<'a> {
    text: std::borrow::Cow<'a, str>,
    index: u32,
    #[schema(schema_with = null, required)]
    logprobs: Option<()>,
    /// Null in all chunks but the last of the answer.
    #[schema(schema_with = finish_reason_or_null, required)]
    finish_reason: Option<FinishReason>,
}

impl<'a> CompletionChoice<'a> {
    fn new(text: impl Into<std::borrow::Cow<'a, str>>, finish_reason: Option<FinishReason>) -> Self {
        Self { text: text.into(), index: 0, logprobs: None, finish_reason }
    }
}

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct CollectedText {
    text: String,
}

impl CollectedText {
    /// Adds an entry. Why the model ended and what it cost, once it has.
    pub(super) fn take(&mut self, entry: &Entry) -> Result<Option<(FinishReason, Usage)>, Problem> {
        match &entry.event {
            Event::Started { text: TextSoFar::Superseded, .. } => self.text.clear(),
            Event::Delta { text, tokens: _ } => self.text.push_str(text),
            Event::Started { .. } | Event::Reasoning { .. } | Event::ToolCall(_) => {}
            Event::Finished { reason, usage } => return Ok(Some((*reason, *usage))),
            Event::Failed { failure } => return Err(failure.into()),
        }
        if self.text.len() > whole::MAX_BYTES {
            let most = whole::MAX_BYTES;
            let message = format!("the answer is larger than {most} bytes: ask with stream: true");
            return Err(Problem::answer_too_large(message));
        }
        Ok(None)
    }

    pub(super) fn complete(
        self,
        identity: CompletionIdentity,
        reason: FinishReason,
        usage: Usage,
    ) -> TextCompletion {
        let choice = CompletionChoice::new(self.text, Some(reason));
        TextCompletion { identity, choices: [choice], usage: usage.into() }
    }
}

pub(super) struct CompletionEncoder {
    identity: CompletionIdentity,
    usage: bool,
    /// Whether the reader has seen a delta of the answer.
    sent: bool,
    gave_up: bool,
}

event_stream!(
    /// The stream of a text completion, described.
    CompletionEvents,
    Events::new(
        "Pieces of the answer, then why it ended, then `[DONE]`. A failure is an object with an `error`, and no `[DONE]` follows \
         it. A body that ends with neither was cut. There are no ids and no resuming: read the answer at the address in `Location` \
         then. Comments (`:`) fill silence.",
    )
    .unnamed::<TextCompletionChunk<'_>>("A chunk of the answer.")
    .unnamed::<ErrorEnvelope<'_>>("A failure. Nothing follows.")
    .literal("[DONE]", "The end of a complete answer.")
);

impl CompletionEncoder {
    pub(super) fn new(identity: CompletionIdentity, usage: bool) -> Self {
        Self { identity, usage, sent: false, gave_up: false }
    }

    fn choice(&self, choice: CompletionChoice<'_>, frames: &mut Frames) {
        let usage = if self.usage { ChunkUsage::NotYetKnown } else { ChunkUsage::NotAsked };
        frames.object(&TextCompletionChunk { identity: &self.identity, choices: &[choice], usage });
    }

    fn fail(&mut self, problem: &Problem, frames: &mut Frames) {
        self.gave_up = true;
        frames.object(&ErrorEnvelope::of(problem));
    }
}

impl Encoder<Frames> for CompletionEncoder {
    fn begin(&mut self, _after: Seq, _frames: &mut Frames) {}

    fn encode(&mut self, entry: &Entry, frames: &mut Frames) {
        match &entry.event {
            Event::Started { text: TextSoFar::Superseded, .. } if self.sent => {
                self.fail(&Problem::started_over(), frames);
            }
            Event::Started { .. } | Event::Reasoning { .. } | Event::ToolCall(_) => {}
            Event::Delta { text, tokens: _ } if text.is_empty() => {}
            Event::Delta { text, tokens: _ } => {
                self.sent = true;
                self.choice(CompletionChoice::new(text, None), frames);
            }
            Event::Finished { reason, usage } => {
                self.choice(CompletionChoice::new("", Some(*reason)), frames);
                if self.usage {
                    let usage = ChunkUsage::Total((*usage).into());
                    frames.object(&TextCompletionChunk { identity: &self.identity, choices: &[], usage });
                }
                frames.openai_done();
            }
            Event::Failed { failure } => self.fail(&failure.into(), frames),
        }
    }

    fn lost(&mut self, frames: &mut Frames) {
        self.fail(&Problem::stream_lost(), frames);
    }

    fn gave_up(&self) -> bool {
        self.gave_up
    }
}
