//! Plays an answer of a script: expands its steps, cuts them at the limits of the request, and returns one after the other.

use std::{collections::VecDeque, time::Duration};

use regex::Captures;
use tokenwire_core::{
    FinishReason, GenerateRequest, GenerationId, StopTexts, ToolCallDelta, Usage,
    model::{ModelError, Output},
};
use tokio::time::sleep;

use super::script::{Answer, Fault, Step};
use crate::words::words;

/// Characters of a call's arguments in one delta. A call of any size has several.
const ARGUMENTS_PIECE: usize = 8;

/// The rest of an answer.
pub(super) struct Playback {
    actions: VecDeque<Action>,
    pace: Duration,
    /// None after it was returned, or after an error.
    end: Option<(FinishReason, Usage)>,
    /// Whether this attempt has returned an output.
    spoke: bool,
}

enum Action {
    Text(String),
    Reasoning(String),
    ToolCall(ToolCallDelta),
    Wait(Duration),
    Fail(Fault),
}

impl Action {
    /// Whether it counts as a token.
    fn is_said(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Reasoning(_) | Self::ToolCall(_))
    }
}

impl Playback {
    /// The whole answer.
    pub(super) fn of(
        answer: &Answer,
        captures: Option<&Captures<'_>>,
        id: GenerationId,
        request: &GenerateRequest,
    ) -> Self {
        let mut actions = actions(&answer.steps, captures, id);
        let mut reason = answer.finish;
        let stopped = stop(&mut actions, &request.sampling.stop);
        if stopped {
            reason = FinishReason::Stop;
        }
        let longest = request.sampling.max_tokens.map(|tokens| tokens.get() as usize);
        let exhausted = longest.is_some_and(|tokens| limit(&mut actions, tokens));
        if exhausted {
            reason = FinishReason::Length;
        }
        let said = actions.iter().filter(|action| action.is_said()).count() as u64;
        let messages = request.conversation.messages().iter();
        let asked = || messages.map(|message| message.content().split_whitespace().count() as u64).sum();
        let usage = Usage {
            input_tokens: answer.input_tokens.unwrap_or_else(asked),
            // The count of the script is for the whole answer.
            output_tokens: answer.output_tokens.filter(|_| !stopped && !exhausted).unwrap_or(said),
        };
        Self { actions: actions.into(), pace: answer.pace, end: Some((reason, usage)), spoke: false }
    }

    /// The rest of the answer after this text.
    pub(super) fn after(mut self, text: &str) -> Result<Self, ModelError> {
        // Only another script can have generated another text. Never join the two.
        let changed = || {
            let message = "the script was changed while it was being played; ask again".to_owned();
            ModelError::Rejected { message }
        };
        let mut text = text;
        while !text.is_empty() {
            match self.actions.pop_front() {
                Some(Action::Text(piece)) => {
                    if let Some(rest) = text.strip_prefix(piece.as_str()) {
                        text = rest;
                    } else {
                        let rest = piece.strip_prefix(text).ok_or_else(changed)?;
                        self.actions.push_front(Action::Text(rest.to_owned()));
                        break;
                    }
                }
                // Past, for an attempt that came to the text behind it.
                Some(Action::Wait(_) | Action::Fail(Fault { once: true, .. })) => {}
                Some(Action::Reasoning(_) | Action::ToolCall(_) | Action::Fail(_)) | None => {
                    return Err(changed());
                }
            }
        }
        Ok(self)
    }

    /// The next output.
    pub(super) async fn next(mut self) -> Option<(Result<Output, ModelError>, Self)> {
        loop {
            let output = match self.actions.pop_front() {
                Some(Action::Wait(time)) => {
                    sleep(time).await;
                    continue;
                }
                Some(Action::Fail(Fault { once: true, .. })) if !self.spoke => continue,
                Some(Action::Fail(Fault { kind, .. })) => {
                    self.actions.clear();
                    self.end = None;
                    return Some((Err(kind.into()), self));
                }
                Some(Action::Text(text)) => Output::Text { text, tokens: Vec::new() },
                Some(Action::Reasoning(text)) => Output::Reasoning { text },
                Some(Action::ToolCall(delta)) => Output::ToolCall(delta),
                None => {
                    let (reason, usage) = self.end.take()?;
                    return Some((Ok(Output::Finished { reason, usage }), self));
                }
            };
            if self.spoke && !self.pace.is_zero() {
                sleep(self.pace).await;
            } else {
                // Without a pace this stream is always ready: let others run too.
                tokio::task::coop::consume_budget().await;
            }
            self.spoke = true;
            return Some((Ok(output), self));
        }
    }
}

/// The steps as deltas, with captured texts filled in. No delta is empty.
fn actions(steps: &[Step], captures: Option<&Captures<'_>>, id: GenerationId) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut calls = 0;
    for step in steps {
        match step {
            Step::Text(text) => actions.extend(words(text.fill(captures, str::to_owned)).map(Action::Text)),
            Step::Pieces(pieces) => {
                let pieces = pieces.iter().map(|piece| piece.fill(captures, str::to_owned));
                actions.extend(pieces.filter(|piece| !piece.is_empty()).map(Action::Text));
            }
            Step::Reasoning(text) => {
                actions.extend(words(text.fill(captures, str::to_owned)).map(Action::Reasoning));
            }
            Step::ToolCall { id: call, name, arguments } => {
                let call = call.clone().unwrap_or_else(|| format!("call_{id}_{calls}"));
                let first = ToolCallDelta {
                    index: calls,
                    id: Some(call),
                    name: Some(name.clone()),
                    arguments: String::new(),
                };
                let more = chunks(arguments.fill(captures, in_json)).map(|arguments| ToolCallDelta {
                    index: calls,
                    id: None,
                    name: None,
                    arguments,
                });
                actions.extend(std::iter::once(first).chain(more).map(Action::ToolCall));
                calls += 1;
            }
            Step::Wait(time) => actions.push(Action::Wait(*time)),
            Step::Fail(fault) => actions.push(Action::Fail(fault.clone())),
        }
    }
    actions
}

/// Escapes a captured text as in a JSON string, so that a prompt cannot end the string.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
}

fn chunks(text: String) -> impl Iterator<Item = String> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.char_indices().nth(ARGUMENTS_PIECE).map_or(rest.len(), |(at, _)| at);
        let chunk: String = rest.drain(..end).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Ends the answer before the first of these texts. Returns whether there was one.
fn stop(actions: &mut Vec<Action>, stops: &StopTexts) -> bool {
    let text: String = actions
        .iter()
        .filter_map(|action| if let Action::Text(text) = action { Some(&**text) } else { None })
        .collect();
    let Some(at) = stops.iter().filter_map(|stop| text.find(stop)).min() else { return false };
    let mut room = at;
    let cut = actions.iter_mut().position(|action| match action {
        Action::Text(text) if text.len() > room => {
            text.truncate(room);
            true
        }
        Action::Text(text) => {
            room -= text.len();
            false
        }
        _ => false,
    });
    let whole = cut.map_or(actions.len(), |cut| if room > 0 { cut + 1 } else { cut });
    actions.truncate(whole);
    true
}

/// Ends the answer after so many deltas. Returns whether there were more.
fn limit(actions: &mut Vec<Action>, pieces: usize) -> bool {
    let said = actions.iter().enumerate().filter(|(_, action)| action.is_said());
    let mut said = said.map(|(at, _)| at).skip(pieces.saturating_sub(1));
    let (Some(last), Some(_)) = (said.next(), said.next()) else { return false };
    actions.truncate(last + 1);
    true
}
