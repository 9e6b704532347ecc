//! A script after its check: its answers, what they match, and their steps.

use std::{fmt, time::Duration};

use regex::{Captures, Regex};
use tokenwire_core::{Conversation, FinishReason, Message, model::ModelError};

use super::{file, template::Template};

/// The answers of a scripted model.
#[derive(Debug)]
pub struct Script {
    pub(super) answers: Vec<Answer>,
}

/// The mistakes in a script, each with its line, and with the number of its answer if it is in one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ScriptError {
    problems: Vec<String>,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("; "))
    }
}

impl ScriptError {
    pub(super) fn new(problems: Vec<String>) -> Self {
        Self { problems }
    }

    /// One sentence each.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(String::as_str)
    }
}

impl Script {
    /// Reads a script, and checks all of it.
    ///
    /// # Errors
    /// [`ScriptError`]; it explains every problem at once.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        file::read(text)
    }

    /// The first answer that fits, with what its pattern found.
    pub(super) fn answer<'a>(
        &self,
        conversation: &'a Conversation,
    ) -> Result<(&Answer, Option<Captures<'a>>), ModelError> {
        let found = self.answers.iter().find_map(|answer| Some((answer, answer.matcher.fits(conversation)?)));
        found.ok_or_else(|| {
            let message = "the script of this model has no answer to that".to_owned();
            ModelError::Rejected { message }
        })
    }
}

/// One answer, and what it matches.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) matcher: Matcher,
    /// The time between two pieces.
    pub(super) pace: Duration,
    pub(super) steps: Vec<Step>,
    pub(super) finish: FinishReason,
    /// As the script says, where it does.
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
}

/// What an answer matches.
#[derive(Debug)]
pub(super) struct Matcher {
    /// With the name of a tool it matches the result of a call of it, and otherwise a message of the user.
    pub(super) tool: Option<String>,
    pub(super) text: MatchText,
}

#[derive(Debug)]
pub(super) enum MatchText {
    /// Any text.
    Any,
    /// This text exactly.
    Exactly(String),
    /// A text that contains a match.
    Like(Regex),
}

impl Matcher {
    /// Whether it matches everything.
    fn is_any(&self) -> bool {
        self.tool.is_none() && matches!(self.text, MatchText::Any)
    }

    /// Its pattern, if it has one.
    pub(super) fn pattern(&self) -> Option<&Regex> {
        if let MatchText::Like(pattern) = &self.text { Some(pattern) } else { None }
    }

    /// Whether it matches, and what its pattern captured.
    #[expect(
        clippy::option_option,
        reason = "the outer level is whether it fits, the inner one whether it has a pattern"
    )]
    fn fits<'a>(&self, conversation: &'a Conversation) -> Option<Option<Captures<'a>>> {
        if !self.is_any() && self.tool.as_deref() != called(conversation) {
            return None;
        }
        let said = conversation.prompt();
        match &self.text {
            MatchText::Any => Some(None),
            MatchText::Exactly(text) => (text == said).then_some(None),
            MatchText::Like(pattern) => pattern.captures(said).map(Some),
        }
    }
}

/// The tool of which the last message is the result. Empty if no call has its id.
fn called(conversation: &Conversation) -> Option<&str> {
    let Message::Tool { tool_call_id, .. } = conversation.last() else { return None };
    let mut calls = conversation.before().iter().rev().flat_map(Message::tool_calls);
    Some(calls.find(|call| call.id == *tool_call_id).map_or("", |call| call.name.as_str()))
}

/// One step of an answer.
#[derive(Debug)]
pub(super) enum Step {
    /// Text, word by word.
    Text(Template),
    /// Text, in these pieces.
    Pieces(Vec<Template>),
    /// Reasoning, word by word.
    Reasoning(Template),
    /// A call, its arguments a few characters at a time.
    ToolCall {
        /// Default: one that follows from the id of the generation.
        id: Option<String>,
        name: String,
        arguments: Template,
    },
    /// Wait for this time.
    Wait(Duration),
    /// A failure.
    Fail(Fault),
}

/// How an attempt fails.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// Only an attempt that generated the text before it fails. An attempt that continues from there does not.
    pub(super) once: bool,
}

#[derive(Clone, Debug)]
pub(super) enum FaultKind {
    Busy(Duration),
    Rejected(String),
    Unavailable(String),
}

impl From<FaultKind> for ModelError {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Busy(retry_after) => Self::Busy { retry_after },
            FaultKind::Rejected(message) => Self::Rejected { message },
            FaultKind::Unavailable(cause) => Self::Unavailable(cause.into()),
        }
    }
}
