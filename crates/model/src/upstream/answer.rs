//! Events to outputs: a fold over one answer.
//!
//! It knows when the answer is whole: when there was a finish reason, or `[DONE]`. A body that ends without either was cut,
//! however politely.

use std::collections::VecDeque;

use reqwest::StatusCode;
use tokenwire_core::{FinishReason, ToolCallDelta, Usage, model::Output};

use super::{
    config::Key,
    errors::{UpstreamError, presentable},
    prefix_trimmer::PrefixTrimmer,
    wire::{Choice, Chunk, Delta, ErrorBody, ToolCallPiece},
};
use crate::sse::Event;

/// What was said so far.
#[derive(Debug)]
pub(super) struct AnswerFold {
    prefix_trimmer: PrefixTrimmer,
    said: VecDeque<Output>,
    /// Something was, whether or not it was taken.
    spoke: bool,
    called_tools: bool,
    finish: Option<FinishReason>,
    usage: Usage,
    done: bool,
}

impl AnswerFold {
    /// An answer that begins, or goes on where `prefix_trimmer` says.
    pub(super) fn new(prefix_trimmer: PrefixTrimmer) -> Self {
        Self {
            prefix_trimmer,
            said: VecDeque::new(),
            spoke: false,
            called_tools: false,
            finish: None,
            usage: Usage::default(),
            done: false,
        }
    }

    /// Takes one event in.
    pub(super) fn take(&mut self, event: &Event, key: Option<&Key>) -> Result<(), UpstreamError> {
        if event.data == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        // Only an error needs no JSON to be one.
        if event.name == "error" {
            let error_body = serde_json::from_str::<Chunk>(&event.data).ok().and_then(|chunk| chunk.error);
            return Err(
                self.error_body(&error_body.unwrap_or_else(|| ErrorBody::Text(event.data.clone())), key)
            );
        }
        // Neither the text, which may be what the model said, nor serde's message, which may quote it.
        let Ok(chunk) = serde_json::from_str::<Chunk>(&event.data) else {
            return Err(UpstreamError::broken("the upstream sent an event that is not a piece of an answer"));
        };
        if let Some(error_body) = chunk.error {
            return Err(self.error_body(&error_body, key));
        }
        if let Some(usage) = chunk.usage {
            // The last one counts: some services tell it with every piece.
            self.usage = Usage {
                input_tokens: usage.prompt_tokens.unwrap_or_default(),
                output_tokens: usage.completion_tokens.unwrap_or_default(),
            };
        }
        // One answer was asked for.
        let first = |choice: &Choice| choice.index.unwrap_or_default() == 0;
        for choice in chunk.choices.into_iter().flatten().filter(first) {
            self.choice(choice)?;
        }
        Ok(())
    }

    /// The next thing that was said and not yet given out.
    pub(super) fn next(&mut self) -> Option<Output> {
        self.said.pop_front()
    }

    /// Whether [`Self::next`] has something to give.
    pub(super) fn has_more(&self) -> bool {
        !self.said.is_empty()
    }

    /// Whether nothing of the answer is missing, except perhaps its usage.
    pub(super) fn is_whole(&self) -> bool {
        self.done || self.finish.is_some()
    }

    /// Whether nothing more is to be read.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// How it ended: only for an answer that is whole. Without usage, as services may leave it out, nothing is counted
    /// rather than something wrong.
    pub(super) fn ending(&self) -> (FinishReason, Usage) {
        let unsaid = if self.called_tools { FinishReason::ToolCalls } else { FinishReason::Stop };
        (self.finish.unwrap_or(unsaid), self.usage)
    }

    fn choice(&mut self, choice: Choice) -> Result<(), UpstreamError> {
        let Delta { content, refusal, reasoning_content, reasoning, tool_calls } =
            choice.delta.unwrap_or_default();
        let filled = |text: &String| !text.is_empty();
        if let Some(text) = reasoning_content.filter(filled).or(reasoning).filter(filled) {
            self.say(Output::Reasoning { text });
        }
        for text in [content, refusal].into_iter().flatten().filter(filled) {
            self.spoke = true;
            let text = self.prefix_trimmer.rest_of(text);
            if !text.is_empty() {
                self.say(Output::Text { text, tokens: Vec::new() });
            }
        }
        for (place, call) in tool_calls.into_iter().flatten().enumerate() {
            if let Some(delta) = piece(place, call) {
                self.called_tools = true;
                self.say(Output::ToolCall(delta));
            }
        }
        if let Some(reason) = choice.finish_reason.filter(filled) {
            self.finish = Some(finish_reason(&reason)?);
        }
        Ok(())
    }

    fn say(&mut self, output: Output) {
        self.spoke = true;
        self.said.push_back(output);
    }

    /// Before anything was said this is the status of the answer by another way; after that the answer was cut.
    fn error_body(&self, error_body: &ErrorBody, key: Option<&Key>) -> UpstreamError {
        let status = error_body.status().and_then(|status| StatusCode::from_u16(status).ok());
        if let Some(status) = status.filter(|status| status.as_u16() >= 400 && !self.spoke) {
            return UpstreamError::of(status, Some(error_body), None, key);
        }
        let words = presentable(error_body.message().unwrap_or("it does not say why"), key);
        UpstreamError::broken(format!("the upstream gave up: {words}"))
    }
}

/// A piece of a tool call, if there is anything in it.
fn piece(place: usize, call: ToolCallPiece) -> Option<ToolCallDelta> {
    let index = call.index.or_else(|| place.try_into().ok())?;
    let (name, arguments) =
        call.function.map_or((None, None), |function| (function.name, function.arguments));
    let filled = |text: &String| !text.is_empty();
    let delta = ToolCallDelta {
        index,
        id: call.id.filter(filled),
        name: name.filter(filled),
        arguments: arguments.unwrap_or_default(),
    };
    (delta.id.is_some() || delta.name.is_some() || !delta.arguments.is_empty()).then_some(delta)
}

fn finish_reason(reason: &str) -> Result<FinishReason, UpstreamError> {
    Ok(match reason {
        "length" | "max_tokens" => FinishReason::Length,
        "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        // Not whole: vLLM's and some routers' words for it.
        "abort" | "aborted" | "cancelled" | "error" => {
            return Err(UpstreamError::broken(format!("the upstream ended the answer with `{reason}`")));
        }
        // "stop", and what services call it: "eos", "end_turn", "stop_sequence", ….
        _ => FinishReason::Stop,
    })
}

#[cfg(test)]
mod tests;
