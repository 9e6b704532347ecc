//! Folds the events of one response to outputs.
//!
//! The response is complete after a finish reason or `[DONE]`. A body that ends without either was cut off.

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

/// The response so far.
#[derive(Debug)]
pub(super) struct AnswerFold {
    prefix_trimmer: PrefixTrimmer,
    said: VecDeque<Output>,
    /// Whether there was any output, also output that is already taken.
    spoke: bool,
    called_tools: bool,
    finish: Option<FinishReason>,
    usage: Usage,
    done: bool,
}

impl AnswerFold {
    /// A new response, or a continuation with this trimmer.
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

    /// Adds one event.
    pub(super) fn take(&mut self, event: &Event, key: Option<&Key>) -> Result<(), UpstreamError> {
        if event.data == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        // Only an error need not be JSON.
        if event.name == "error" {
            let error_body = serde_json::from_str::<Chunk>(&event.data).ok().and_then(|chunk| chunk.error);
            return Err(
                self.error_body(&error_body.unwrap_or_else(|| ErrorBody::Text(event.data.clone())), key)
            );
        }
        // Quote neither the text nor serde's message: they may have output of the model.
        let Ok(chunk) = serde_json::from_str::<Chunk>(&event.data) else {
            return Err(UpstreamError::broken(
                "the upstream sent an event that is not a chat completion chunk",
            ));
        };
        if let Some(error_body) = chunk.error {
            return Err(self.error_body(&error_body, key));
        }
        if let Some(usage) = chunk.usage {
            // The last one counts: some services send it with every event.
            self.usage = Usage {
                input_tokens: usage.prompt_tokens.unwrap_or_default(),
                output_tokens: usage.completion_tokens.unwrap_or_default(),
            };
        }
        // Only one answer was requested.
        let first = |choice: &Choice| choice.index.unwrap_or_default() == 0;
        for choice in chunk.choices.into_iter().flatten().filter(first) {
            self.choice(choice)?;
        }
        Ok(())
    }

    /// Takes the next output.
    pub(super) fn next(&mut self) -> Option<Output> {
        self.said.pop_front()
    }

    /// Whether [`Self::next`] has an output.
    pub(super) fn has_more(&self) -> bool {
        !self.said.is_empty()
    }

    /// Whether the response is complete, except perhaps for its usage.
    pub(super) fn is_whole(&self) -> bool {
        self.done || self.finish.is_some()
    }

    /// Whether the stream of events has ended.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The end of a complete response. Without reported usage the tokens are zero.
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

    /// Before any output, the error stands for the status of the response. After output, the response was cut off.
    fn error_body(&self, error_body: &ErrorBody, key: Option<&Key>) -> UpstreamError {
        let status = error_body.status().and_then(|status| StatusCode::from_u16(status).ok());
        if let Some(status) = status.filter(|status| status.as_u16() >= 400 && !self.spoke) {
            return UpstreamError::of(status, Some(error_body), None, key);
        }
        let words = presentable(error_body.message().unwrap_or("it does not say why"), key);
        UpstreamError::broken(format!("the upstream gave up: {words}"))
    }
}

/// The delta of a tool call, if it is not empty.
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
        // Not complete: used by vLLM and some routers.
        "abort" | "aborted" | "cancelled" | "error" => {
            return Err(UpstreamError::broken(format!("the upstream ended the answer with `{reason}`")));
        }
        // Also other names of "stop": "eos", "end_turn", "stop_sequence", ….
        _ => FinishReason::Stop,
    })
}

#[cfg(test)]
mod tests;
