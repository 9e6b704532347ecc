//! A chat completion as it comes: `chat.completion.chunk` events without names, then `[DONE]`.
//!
//! | Entry | Chunk |
//! |---|---|
//! | none, at once | `delta: {"role": "assistant"}` |
//! | text | `delta: {"content"}` |
//! | a delta of reasoning | `delta: {"reasoning_content"}`, the name that services with reasoning agree on |
//! | a delta of a tool call | `delta: {"tool_calls": [{"index", "id"?, "type"?, "function"}]}` |
//! | the end | `finish_reason`, then the usage if requested, then `[DONE]` |
//! | a failure | `{"error": {...}}`, for which SDKs raise an error; no `[DONE]` |
//! | an attempt that starts over | nothing before the first delta; else an error, because this format cannot take text back |
//!
//! There is no `id:` and no cursor: the format cannot resume. A reader that was cut off finds the answer at `/ask`, under the
//! id in each chunk.

use std::collections::BTreeSet;

use serde::Serialize;
use tokenwire_core::{Entry, Event, FinishReason, GenerationId, Seq, TextSoFar, ToolCallDelta};
use utoipa::ToSchema;

use super::answer::ChatIdentity;
use crate::{
    front::{
        describe::{finish_reason_or_null, null},
        events::{Events, event_stream},
        problem::Problem,
    },
    openai::{
        call_id::call_id,
        error::ErrorEnvelope,
        usage::{ChunkUsage, CompletionUsage},
    },
    stream::{frames::Frames, reader::Encoder},
};

pub(super) const OBJECT: &str = "chat.completion.chunk";

pub(super) struct ChunkEncoder {
    id: GenerationId,
    identity: ChatIdentity,
    usage: bool,
    /// Whether the reader has seen a delta of the answer.
    said: bool,
    /// The calls whose first delta was sent.
    calls: BTreeSet<u32>,
    gave_up: bool,
}

impl ChunkEncoder {
    pub(super) fn new(id: GenerationId, identity: ChatIdentity, usage: bool) -> Self {
        Self { id, identity, usage, said: false, calls: BTreeSet::new(), gave_up: false }
    }

    fn choice(&self, choice: ChatChunkChoice<'_>, frames: &mut Frames) {
        let usage = if self.usage { ChunkUsage::NotYetKnown } else { ChunkUsage::NotAsked };
        frames.object(&ChatCompletionChunk { identity: &self.identity, choices: &[choice], usage });
    }

    fn delta(&mut self, delta: ChatDelta<'_>, frames: &mut Frames) {
        self.said = true;
        self.choice(ChatChunkChoice { index: 0, delta, logprobs: None, finish_reason: None }, frames);
    }

    fn fail(&mut self, problem: &Problem, frames: &mut Frames) {
        self.gave_up = true;
        frames.object(&ErrorEnvelope::of(problem));
    }

    fn call(&mut self, piece: &ToolCallDelta, frames: &mut Frames) {
        let ToolCallDelta { index, id, name, arguments } = piece;
        let first = self.calls.insert(*index);
        let id = match id {
            Some(id) => Some(id.clone()),
            None => first.then(|| call_id(self.id, *index)),
        };
        let function = ChatFunctionPiece { name: name.as_deref(), arguments };
        let call = ChatCallPiece { index: *index, id, r#type: first.then_some("function"), function };
        self.delta(ChatDelta { tool_calls: Some([call]), ..ChatDelta::default() }, frames);
    }
}

/// A chunk of an answer.
#[derive(Serialize, ToSchema)]
struct ChatCompletionChunk<'a> {
    #[serde(flatten)]
    identity: &'a ChatIdentity,
    /// One, or none in the chunk with the usage.
    choices: &'a [ChatChunkChoice<'a>],
    /// Only on request. Null in all chunks but the last.
    #[serde(skip_serializing_if = "ChunkUsage::was_not_asked")]
    #[schema(value_type = Option<CompletionUsage>)]
    usage: ChunkUsage,
}

#[derive(Serialize, ToSchema)]
struct ChatChunkChoice<'a> {
    index: u32,
    delta: ChatDelta<'a>,
    #[schema(schema_with = null, required)]
    logprobs: Option<()>,
    /// Null in all chunks but the last of the answer.
    #[schema(schema_with = finish_reason_or_null, required)]
    finish_reason: Option<FinishReason>,
}

/// What is new.
#[derive(Default, Serialize, ToSchema)]
struct ChatDelta<'a> {
    /// In the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^assistant$", nullable = false)]
    role: Option<&'static str>,
    /// A delta of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    content: Option<&'a str>,
    /// A delta of the model's reasoning, if it shows any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reasoning_content: Option<&'a str>,
    /// A delta of a tool call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<ChatCallPiece<'_>>)]
    tool_calls: Option<[ChatCallPiece<'a>; 1]>,
}

/// A delta of a tool call. Deltas with one `index` belong together.
#[derive(Serialize, ToSchema)]
struct ChatCallPiece<'a> {
    index: u32,
    /// In the first delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<String>,
    /// In the first delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^function$", nullable = false)]
    r#type: Option<&'static str>,
    function: ChatFunctionPiece<'a>,
}

/// A delta of a function call.
#[derive(Serialize, ToSchema)]
struct ChatFunctionPiece<'a> {
    /// In the first delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<&'a str>,
    arguments: &'a str,
}

event_stream!(
    /// The stream of a chat completion, for the OpenAPI document.
    ChatEvents,
    events()
);

/// The events that [`ChunkEncoder`] writes.
fn events() -> Events {
    Events::new(
        "The role first, then deltas of the answer, then why it ended, then `[DONE]`. A failure after the first byte is an \
         object with an `error`, and no `[DONE]` follows it. A body that ends with neither was cut. There are no ids and no \
         resuming: read the answer at the address in `Location` then. Comments (`:`) fill silence.",
    )
    .unnamed::<ChatCompletionChunk<'_>>("A chunk of the answer.")
    .unnamed::<ErrorEnvelope<'_>>("A failure. Nothing follows.")
    .literal("[DONE]", "The end of a complete answer.")
}

impl Encoder<Frames> for ChunkEncoder {
    fn begin(&mut self, _after: Seq, frames: &mut Frames) {
        let delta = ChatDelta { role: Some("assistant"), ..ChatDelta::default() };
        self.choice(ChatChunkChoice { index: 0, delta, logprobs: None, finish_reason: None }, frames);
    }

    fn encode(&mut self, entry: &Entry, frames: &mut Frames) {
        match &entry.event {
            Event::Started { text: TextSoFar::Superseded, .. } if self.said => {
                self.fail(&Problem::started_over(), frames);
            }
            Event::Started { .. } => {}
            Event::Delta { text, tokens: _ } if text.is_empty() => {}
            Event::Delta { text, tokens: _ } => {
                self.delta(ChatDelta { content: Some(text), ..ChatDelta::default() }, frames);
            }
            Event::Reasoning { text } => {
                self.delta(ChatDelta { reasoning_content: Some(text), ..ChatDelta::default() }, frames);
            }
            Event::ToolCall(piece) => self.call(piece, frames),
            Event::Finished { reason, usage } => {
                let end = ChatChunkChoice {
                    index: 0,
                    delta: ChatDelta::default(),
                    logprobs: None,
                    finish_reason: Some(*reason),
                };
                self.choice(end, frames);
                if self.usage {
                    let usage = ChunkUsage::Total((*usage).into());
                    frames.object(&ChatCompletionChunk { identity: &self.identity, choices: &[], usage });
                }
                frames.openai_done();
            }
            Event::Failed { failure } => self.fail(&Problem::from(failure), frames),
        }
    }

    fn lost(&mut self, frames: &mut Frames) {
        self.fail(&Problem::stream_lost(), frames);
    }

    fn gave_up(&self) -> bool {
        self.gave_up
    }
}
