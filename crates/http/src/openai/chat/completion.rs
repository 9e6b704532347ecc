//! A whole chat completion, collected from its stream.

use std::collections::BTreeMap;

use serde::Serialize;
use tokenwire_core::{Entry, Event, FinishReason, GenerationId, TextSoFar, ToolCallDelta, Usage};
use utoipa::ToSchema;

use super::answer::ChatIdentity;
use crate::{
    front::{
        describe::{finish_reason, null},
        problem::Problem,
        whole,
    },
    openai::{call_id::call_id, usage::CompletionUsage},
};

pub(super) const OBJECT: &str = "chat.completion";

/// The answer so far.
#[derive(Debug, Default)]
pub(super) struct Collected {
    content: String,
    reasoning: String,
    calls: BTreeMap<u32, Called>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Called {
    id: Option<String>,
    name: String,
    arguments: String,
}

impl Collected {
    /// Adds an entry. Returns the finish reason and the usage at the end.
    pub(super) fn take(&mut self, entry: &Entry) -> Result<Option<(FinishReason, Usage)>, Problem> {
        self.bytes = self.bytes.saturating_add(entry.event.size());
        match &entry.event {
            // No client has seen the discarded text.
            Event::Started { text: TextSoFar::Superseded, .. } => *self = Self::default(),
            Event::Started { .. } => {}
            Event::Delta { text, tokens: _ } => self.content.push_str(text),
            Event::Reasoning { text } => self.reasoning.push_str(text),
            Event::ToolCall(ToolCallDelta { index, id, name, arguments }) => {
                let call = self.calls.entry(*index).or_default();
                call.id = call.id.take().or_else(|| id.clone());
                call.name.push_str(name.as_deref().unwrap_or_default());
                call.arguments.push_str(arguments);
            }
            Event::Finished { reason, usage } => return Ok(Some((*reason, *usage))),
            Event::Failed { failure } => return Err(failure.into()),
        }
        if self.bytes > whole::MAX_BYTES {
            return Err(too_large());
        }
        Ok(None)
    }

    pub(super) fn complete(
        self,
        id: GenerationId,
        identity: ChatIdentity,
        finish_reason: FinishReason,
        usage: Usage,
    ) -> ChatCompletion {
        let calls =
            self.calls.into_iter().map(|(index, Called { id: id_of_model, name, arguments })| ChatCallMade {
                id: id_of_model.unwrap_or_else(|| call_id(id, index)),
                r#type: "function",
                function: ChatFunctionMade { name, arguments },
            });
        let tool_calls: Vec<_> = calls.collect();
        let nothing_said = self.content.is_empty() && !tool_calls.is_empty();
        let message = ChatAnswer {
            role: "assistant",
            content: (!nothing_said).then_some(self.content),
            refusal: None,
            reasoning_content: (!self.reasoning.is_empty()).then_some(self.reasoning),
            tool_calls,
        };
        let choice = ChatChoice { index: 0, message, logprobs: None, finish_reason };
        ChatCompletion { identity, choices: [choice], usage: usage.into() }
    }
}

fn too_large() -> Problem {
    let most = whole::MAX_BYTES;
    Problem::answer_too_large(format!("the answer is larger than {most} bytes: ask with stream: true"))
}

/// A whole answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChatCompletion {
    #[serde(flatten)]
    identity: ChatIdentity,
    /// One.
    choices: [ChatChoice; 1],
    usage: CompletionUsage,
}

#[derive(Debug, Serialize, ToSchema)]
struct ChatChoice {
    index: u32,
    message: ChatAnswer,
    #[schema(schema_with = null, required)]
    logprobs: Option<()>,
    #[schema(schema_with = finish_reason)]
    finish_reason: FinishReason,
}

/// The message of the model.
#[derive(Debug, Serialize, ToSchema)]
struct ChatAnswer {
    #[schema(pattern = "^assistant$")]
    role: &'static str,
    /// Null if the model only calls tools.
    #[schema(required)]
    content: Option<String>,
    #[schema(schema_with = null, required)]
    refusal: Option<()>,
    /// The model's reasoning, if it shows any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reasoning_content: Option<String>,
    /// The tool calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ChatCallMade>,
}

/// A tool call by the model.
#[derive(Debug, Serialize, ToSchema)]
struct ChatCallMade {
    id: String,
    #[schema(pattern = "^function$")]
    r#type: &'static str,
    function: ChatFunctionMade,
}

/// The called function.
#[derive(Debug, Serialize, ToSchema)]
struct ChatFunctionMade {
    name: String,
    /// Should be JSON: the server does not check it.
    arguments: String,
}
