//! Reads a script, a TOML file, into a [`Script`] or into a list of all its mistakes.
//!
//! Each answer and each step is read alone, so that a mistake in one hides no other, and every problem has its place.

use std::{fmt, ops::Range, time::Duration};

use regex::Regex;
use serde::{Deserialize, de::DeserializeOwned};
use tokenwire_core::FinishReason;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    script::{Answer, Fault, FaultKind, MatchText, Matcher, Script, ScriptError, Step},
    template::Template,
};

pub(super) fn read(text: &str) -> Result<Script, ScriptError> {
    let mut reading = Reading { text, problems: Vec::new() };
    let answers = reading.script();
    let mut problems = reading.problems;
    problems.sort_by_key(|(line, _)| *line);
    let problems: Vec<_> = problems.into_iter().map(|(_, problem)| problem).collect();
    if problems.is_empty() { Ok(Script { answers }) } else { Err(ScriptError::new(problems)) }
}

/// A place in the script, for messages.
#[derive(Clone, Copy)]
enum Place {
    Script,
    Answer(usize),
    Step(usize, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Script => Ok(()),
            Self::Answer(answer) => write!(f, ", answer {answer}"),
            Self::Step(answer, step) => write!(f, ", answer {answer}, step {step}"),
        }
    }
}

struct Reading<'a> {
    text: &'a str,
    /// Each with its line.
    problems: Vec<(usize, String)>,
}

impl<'a> Reading<'a> {
    fn problem(&mut self, at: &Range<usize>, place: Place, what: impl fmt::Display) {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        self.problems.push((line, format!("line {line}{place}: {what}")));
    }

    fn value<T: DeserializeOwned>(&mut self, value: Spanned<DeValue<'a>>, place: Place) -> Option<T> {
        let at = value.span();
        let read = T::deserialize(ValueDeserializer::from(value));
        read.map_err(|error| self.problem(&error.span().unwrap_or(at), place, error.message())).ok()
    }

    /// The entries of a list. In TOML both `[[name]]` and `name = [ ]` make one.
    fn list(&mut self, value: Spanned<DeValue<'a>>, place: Place, name: &str) -> Vec<Spanned<DeValue<'a>>> {
        let at = value.span();
        if let DeValue::Array(list) = value.into_inner() {
            return list.into_iter().collect();
        }
        self.problem(&at, place, format_args!("{name} is a list: write [[{name}]]"));
        Vec::new()
    }

    fn script(&mut self) -> Vec<Answer> {
        let root = match DeTable::parse(self.text) {
            Ok(root) => root,
            Err(error) => {
                self.problem(&error.span().unwrap_or_default(), Place::Script, error.message());
                return Vec::new();
            }
        };
        let mut pace = None;
        let mut answers = Vec::new();
        for (key, value) in root.into_inner() {
            match key.get_ref().as_ref() {
                "pace" => pace = self.value::<Span>(value, Place::Script),
                "answer" => answers = self.list(value, Place::Script, "answer"),
                other => {
                    let what = format!("unknown field `{other}`, expected `pace` or `answer`");
                    self.problem(&key.span(), Place::Script, what);
                }
            }
        }
        if answers.is_empty() && self.problems.is_empty() {
            self.problem(&(0..0), Place::Script, "there is no [[answer]]: write at least one");
        }
        let pace = pace.map_or(Duration::ZERO, |Span(pace)| pace);
        let answers = (1..).zip(answers);
        answers.filter_map(|(number, entry)| self.answer(entry, number, pace)).collect()
    }

    /// One answer. The default pace is the script's.
    fn answer(
        &mut self,
        entry: Spanned<DeValue<'a>>,
        answer: usize,
        default_pace: Duration,
    ) -> Option<Answer> {
        let (at, place) = (entry.span(), Place::Answer(answer));
        let DeValue::Table(mut table) = entry.into_inner() else {
            self.problem(&at, place, "is no table: write [[answer]]");
            return None;
        };
        let say = table.remove("say").map(|say| self.list(say, place, "answer.say")).unwrap_or_default();
        let entry = self.value::<AnswerEntry>(Spanned::new(at.clone(), DeValue::Table(table)), place);
        let matcher = entry
            .as_ref()
            .and_then(|entry| entry.matcher().map_err(|what| self.problem(&at, place, what)).ok());
        let mut steps = Vec::new();
        for (number, step) in (1..).zip(say) {
            steps.extend(self.step(step, Place::Step(answer, number), matcher.as_ref(), &steps));
        }
        let AnswerEntry { pace, finish, usage, .. } = entry?;
        if ends_in_error(&steps) && (finish.is_some() || usage.output_tokens.is_some()) {
            self.problem(&at, place, "ends with an error, and so has no finish and no output_tokens");
        }
        let called = steps.iter().any(|step| matches!(step, Step::ToolCall { .. }));
        let by_itself = if called { FinishReason::ToolCalls } else { FinishReason::Stop };
        Some(Answer {
            matcher: matcher?,
            pace: pace.map_or(default_pace, |Span(pace)| pace),
            steps,
            finish: finish.unwrap_or(by_itself),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
        })
    }

    /// One step. Without a `matcher` its mistake is reported already, and texts that refer to it cannot be checked.
    fn step(
        &mut self,
        entry: Spanned<DeValue<'a>>,
        place: Place,
        matcher: Option<&Matcher>,
        before: &[Step],
    ) -> Option<Step> {
        let at = entry.span();
        if let DeValue::Table(fields) = entry.get_ref()
            && let Some((field, _)) =
                fields.iter().find(|(name, _)| OF_THE_ANSWER.contains(&name.get_ref().as_ref()))
        {
            let what = format!("{field} belongs to the answer: write it above the first [[answer.say]]");
            self.problem(&field.span(), place, what);
            return None;
        }
        let entry = self.value::<StepEntry>(entry, place)?;
        let pattern = matcher?.pattern();
        let step = entry.check(pattern).and_then(|step| match can_follow(before, &step) {
            Ok(()) => Ok(step),
            Err(what) => Err(what.to_owned()),
        });
        step.map_err(|what| self.problem(&at, place, what)).ok()
    }
}

/// Whether a step can come after these.
fn can_follow(before: &[Step], step: &Step) -> Result<(), &'static str> {
    if ends_in_error(before) {
        return Err("is never reached: the error before it ends every attempt (once = true ends one)");
    }
    let Step::Fail(Fault { kind, once: true }) = step else { return Ok(()) };
    if matches!(kind, FaultKind::Rejected(_)) {
        return Err("is a rejection, which is final: leave once out");
    }
    if before.iter().any(|step| matches!(step, Step::Reasoning(_) | Step::ToolCall { .. })) {
        return Err(
            "has once after reasoning or a tool call: then the next attempt starts over, and comes here again",
        );
    }
    let since = before.iter().rev().take_while(|step| !matches!(step, Step::Fail(_)));
    let text = since.into_iter().any(|step| matches!(step, Step::Text(_) | Step::Pieces(_)));
    text.then_some(())
        .ok_or("has once without a text before it, by which the next attempt could know that there was one")
}

/// Whether every attempt ends in an error.
fn ends_in_error(steps: &[Step]) -> bool {
    matches!(steps.last(), Some(Step::Fail(Fault { once: false, .. })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerEntry {
    tool: Option<String>,
    prompt: Option<String>,
    pattern: Option<String>,
    pace: Option<Span>,
    finish: Option<FinishReason>,
    #[serde(default)]
    usage: UsageEntry,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageEntry {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl AnswerEntry {
    fn matcher(&self) -> Result<Matcher, String> {
        let text = match (&self.prompt, &self.pattern) {
            (Some(_), Some(_)) => return Err("has a prompt and a pattern: leave one out".into()),
            (Some(prompt), None) if prompt.trim().is_empty() && self.tool.is_none() => {
                return Err("has a blank prompt, which no client can send".into());
            }
            (Some(prompt), None) => MatchText::Exactly(prompt.clone()),
            (None, Some(pattern)) => {
                MatchText::Like(Regex::new(pattern).map_err(|error| {
                    // The last line has the message; the lines before it show the place.
                    let error = error.to_string();
                    let what = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    format!("has a pattern that cannot be used: {what}")
                })?)
            }
            (None, None) => MatchText::Any,
        };
        Ok(Matcher { tool: self.tool.clone(), text })
    }
}

/// Fields of an answer. TOML gives them to a step when they are written below it.
const OF_THE_ANSWER: [&str; 6] = ["tool", "prompt", "pattern", "pace", "finish", "usage"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepEntry {
    text: Option<String>,
    pieces: Option<Vec<String>>,
    reasoning: Option<String>,
    tool_call: Option<ToolCallEntry>,
    wait: Option<Span>,
    error: Option<ErrorEntry>,
    once: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolCallEntry {
    id: Option<String>,
    name: String,
    #[serde(default)]
    arguments: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ErrorEntry {
    Busy(Span),
    Rejected(String),
    Unavailable(String),
}

impl StepEntry {
    fn check(self, pattern: Option<&Regex>) -> Result<Step, String> {
        let Self { text, pieces, reasoning, tool_call, wait, error, once } = self;
        if once.is_some() && error.is_none() {
            return Err("has once, which only an error can have".into());
        }
        let template = |name: &str, text: String| {
            if text.is_empty() {
                return Err(format!("has a {name} that is empty: leave it out"));
            }
            Template::parse(&text, pattern)
        };
        match (text, pieces, reasoning, tool_call, wait, error) {
            (Some(text), None, None, None, None, None) => Ok(Step::Text(template("text", text)?)),
            (None, Some(pieces), None, None, None, None) => {
                let pieces = pieces.into_iter().map(|piece| template("piece", piece));
                Ok(Step::Pieces(pieces.collect::<Result<_, _>>()?))
            }
            (None, None, Some(text), None, None, None) => Ok(Step::Reasoning(template("reasoning", text)?)),
            (None, None, None, Some(ToolCallEntry { id, name, arguments }), None, None) => {
                if name.is_empty() || id.as_ref().is_some_and(String::is_empty) {
                    return Err("calls a tool with an empty name or id".into());
                }
                Ok(Step::ToolCall { id, name, arguments: Template::parse(&arguments, pattern)? })
            }
            (None, None, None, None, Some(Span(time)), None) => Ok(Step::Wait(time)),
            (None, None, None, None, None, Some(error)) => {
                let kind = match error {
                    ErrorEntry::Busy(Span(retry_after)) => FaultKind::Busy(retry_after),
                    ErrorEntry::Rejected(message) => FaultKind::Rejected(message),
                    ErrorEntry::Unavailable(message) => FaultKind::Unavailable(message),
                };
                Ok(Step::Fail(Fault { kind, once: once.unwrap_or(false) }))
            }
            _ => Err(
                "is not one of text, pieces, reasoning, tool_call, wait and error: write exactly one of them"
                    .into(),
            ),
        }
    }
}

/// A time, such as `20ms`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Span(Duration);

impl TryFrom<String> for Span {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        humantime::parse_duration(&text).map(Self).map_err(|_| "expected a duration, such as 20ms, 5s or 2m")
    }
}
