//! What is said about a stream: a fold over its entries. Its JSON form is for scripts.

use std::time::Duration;

use serde::{Serialize, Serializer};
use token_log::Inspection;
use tokenwire_core::{
    CancelCause, Entry, Event, Failure, FinishReason, GenerationId, Seq, TextSoFar, Timestamp,
    token_log::{OnDisconnect, Phase, Prefix},
};

/// Times are milliseconds since the Unix epoch.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) id: GenerationId,
    pub(super) state: &'static str,
    /// How long ago the owner was heard of, where the store knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) silent_for_ms: Option<u64>,
    pub(super) created_at: Timestamp,
    pub(super) start_by: Timestamp,
    pub(super) end_by: Timestamp,
    #[serde(rename = "cancel_after_ms", serialize_with = "grace")]
    pub(super) on_disconnect: OnDisconnect,
    pub(super) told_to_stop: bool,
    /// Including those that were cut short before they said anything.
    pub(super) newest_attempt: u32,
    pub(super) attempts: Vec<Attempt>,
    pub(super) batches: usize,
    pub(super) stored_bytes: u64,
    /// Of what the front end noted down. What it says is nobody's business here.
    pub(super) memo_bytes: usize,
    pub(super) text_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<End>,
    pub(super) entries: Vec<Line>,
    /// What readers have, when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
}

/// One attempt, from its `Started` on.
#[derive(Debug, Serialize)]
pub(super) struct Attempt {
    pub(super) attempt: u32,
    pub(super) region: Option<String>,
    /// What became of the text before it.
    pub(super) text: &'static str,
    pub(super) first: Seq,
    pub(super) last: Seq,
    pub(super) began: Timestamp,
    pub(super) last_at: Timestamp,
    pub(super) pieces: usize,
    pub(super) bytes: usize,
}

/// The terminal entry.
#[derive(Debug, Serialize)]
pub(super) struct End {
    pub(super) seq: Seq,
    pub(super) at: Timestamp,
    pub(super) outcome: String,
}

/// One entry, without its text.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    seq: Seq,
    at: Timestamp,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<usize>,
}

impl Report {
    pub(super) fn new(id: GenerationId, inspection: Inspection, with_text: bool) -> Self {
        let Inspection {
            spec,
            metadata_bytes: memo_bytes,
            attempt,
            phase,
            cancelled,
            entries,
            batches,
            stored_bytes,
        } = inspection;
        let (state, silent_for) = match phase {
            Phase::Queued { .. } => ("queued", None),
            Phase::Running { silent_for, .. } => ("running", Some(silent_for)),
            Phase::Sealed => ("ended", None),
        };
        let mut prefix = Prefix::default();
        for entry in &entries {
            prefix.push(entry);
        }
        Self {
            id,
            state,
            silent_for_ms: silent_for.filter(|silent_for| *silent_for < Duration::MAX).map(millis),
            created_at: spec.created_at,
            start_by: spec.start_by,
            end_by: spec.end_by,
            on_disconnect: spec.on_disconnect,
            told_to_stop: cancelled,
            newest_attempt: attempt.get(),
            attempts: attempts(&entries),
            batches,
            stored_bytes,
            memo_bytes,
            text_bytes: prefix.text.len(),
            end: entries.last().and_then(end),
            entries: entries.iter().map(line).collect(),
            text: with_text.then_some(prefix.text),
        }
    }
}

fn attempts(entries: &[Entry]) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for Entry { seq, at, event } in entries {
        if let Event::Started { attempt, text, region } = event {
            attempts.push(Attempt {
                attempt: attempt.get(),
                region: region.clone(),
                text: match text {
                    TextSoFar::Kept => "kept",
                    TextSoFar::Superseded => "superseded",
                },
                first: *seq,
                last: *seq,
                began: *at,
                last_at: *at,
                pieces: 0,
                bytes: 0,
            });
        }
        if let Some(current) = attempts.last_mut() {
            (current.last, current.last_at) = (*seq, *at);
            if let Event::Delta { text, .. } = event {
                current.pieces += 1;
                current.bytes += text.len();
            }
        }
    }
    attempts
}

fn line(Entry { seq, at, event }: &Entry) -> Line {
    let (name, bytes, tokens) = match event {
        Event::Started { .. } => ("started", None, None),
        Event::Delta { text, tokens } => ("delta", Some(text.len()), Some(tokens.len())),
        Event::Reasoning { text } => ("reasoning", Some(text.len()), None),
        Event::ToolCall(delta) => ("tool_call", Some(delta.arguments.len()), None),
        Event::Finished { .. } => ("finished", None, None),
        Event::Failed { .. } => ("failed", None, None),
    };
    Line { seq: *seq, at: *at, event: name, bytes, tokens }
}

fn end(Entry { seq, at, event }: &Entry) -> Option<End> {
    let outcome = match event {
        Event::Started { .. } | Event::Delta { .. } | Event::Reasoning { .. } | Event::ToolCall(_) => {
            return None;
        }
        Event::Finished { reason, usage } => {
            let reason = match reason {
                FinishReason::Stop => "finished",
                FinishReason::Length => "finished at the limit of tokens",
                FinishReason::ToolCalls => "finished with tool calls",
                FinishReason::ContentFilter => "cut by the model's content filter",
            };
            format!("{reason}, {} tokens for {}", usage.output_tokens, usage.input_tokens)
        }
        Event::Failed { failure } => match failure {
            Failure::Expired => "expired".to_owned(),
            Failure::TimedOut => "timed out".to_owned(),
            Failure::Cancelled { cause: CancelCause::Requested } => "cancelled on request".to_owned(),
            Failure::Cancelled { cause: CancelCause::Abandoned } => {
                "cancelled for lack of readers".to_owned()
            }
            Failure::Rejected { message } => format!("rejected: {message}"),
            Failure::Exhausted { attempts, message } => {
                format!("failed after {attempts} attempts: {message}")
            }
            Failure::Lost => "lost".to_owned(),
        },
    };
    Some(End { seq: *seq, at: *at, outcome })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn grace<S: Serializer>(on_disconnect: &OnDisconnect, serializer: S) -> Result<S::Ok, S::Error> {
    match on_disconnect {
        OnDisconnect::Detached => serializer.serialize_none(),
        OnDisconnect::CancelAfter(grace) => serializer.serialize_some(&millis(*grace)),
    }
}
