//! A response: what was asked, and a fold over the entries of its stream (I8). The events of a stream and the resource
//! come from the same fold, so that they cannot disagree.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tokenwire_core::{
    Entry, Event, Failure, FinishReason, GenerationId, Message, TextSoFar, Timestamp, Usage,
    token_log::StreamSpec,
};

use super::{
    super::{error::ApiError, failure},
    memo::Memo,
    output::{Kind, Output, Watch},
    resource::Resource,
};
use crate::error::Error;

/// The most of an answer that is held, in bytes: a long one has some hundred thousand. Every reader costs so much memory,
/// because the last events repeat the whole text.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// One response, as far as its stream was read.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) id: GenerationId,
    pub(super) created_at: Timestamp,
    pub(super) memo: Memo,
    pub(super) output: Output,
    pub(super) state: State,
}

/// How far it has come.
#[derive(Debug)]
pub(super) enum State {
    Waiting,
    Running,
    Ended { at: Timestamp, end: End },
}

#[derive(Debug)]
pub(super) enum End {
    Finished { reason: FinishReason, usage: Usage },
    Cancelled,
    Failed(ApiError),
}

impl End {
    /// Whether the model said all that it wanted.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Finished { reason: FinishReason::Stop | FinishReason::ToolCalls, .. })
    }
}

#[derive(Serialize)]
struct OfResponse<'a> {
    response: Resource<'a>,
}

impl Response {
    pub(super) fn new(id: GenerationId, spec: &StreamSpec) -> Result<Self, Error> {
        let (created_at, memo) = (spec.created_at, Memo::read(&spec.memo)?);
        Ok(Self { id, created_at, memo, output: Output::new(id), state: State::Waiting })
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    /// Whether a later request can go on from it.
    pub(super) fn can_be_gone_on_from(&self) -> bool {
        matches!(&self.state, State::Ended { end, .. } if !matches!(end, End::Failed(_)))
    }

    /// What a reader from the start is told at once.
    pub(super) fn created(&self, watch: &mut impl Watch) {
        self.tell("response.created", watch);
        if self.memo.background {
            self.tell("response.queued", watch);
        }
    }

    /// One more entry. Nothing follows an end.
    pub(super) fn take(&mut self, entry: &Entry, watch: &mut impl Watch) {
        if self.has_ended() {
            return;
        }
        if matches!(self.state, State::Waiting) && !matches!(entry.event, Event::Failed { .. }) {
            self.state = State::Running;
            self.tell("response.in_progress", watch);
        }
        match &entry.event {
            // Whoever was told of the output is told more than this: see the encoder.
            Event::Started { text: TextSoFar::Superseded, .. } => self.output = Output::new(self.id),
            Event::Started { .. } => {}
            Event::Delta { text, tokens: _ } => self.output.say(Kind::Answer, text, watch),
            Event::Reasoning { text } => self.output.say(self.reasoning(), text, watch),
            Event::ToolCall(piece) => self.output.call(piece, watch),
            Event::Finished { reason, usage } => {
                let end = End::Finished { reason: *reason, usage: *usage };
                let whole = end.is_whole();
                self.output.finish(whole, watch);
                self.state = State::Ended { at: entry.at, end };
                self.tell(if whole { "response.completed" } else { "response.incomplete" }, watch);
            }
            Event::Failed { failure: Failure::Cancelled { .. } } => {
                self.output.break_off();
                self.state = State::Ended { at: entry.at, end: End::Cancelled };
                self.tell("response.incomplete", watch);
            }
            Event::Failed { failure } => self.fail(failure::told(failure), entry.at, watch),
        }
        if self.output.bytes() > MAX_BYTES && !self.has_ended() {
            let message =
                format!("the answer is larger than {MAX_BYTES} bytes: read it at the address in Location");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let error = ApiError::server(status, "answer_too_large", message).final_answer();
            self.fail(error, entry.at, watch);
        }
    }

    /// It will not become whole, or cannot be told here.
    pub(super) fn fail(&mut self, error: ApiError, at: Timestamp, watch: &mut impl Watch) {
        #[derive(Serialize)]
        struct Told {
            error: Value,
        }
        watch.event("error", &Told { error: object(&error) });
        self.output.break_off();
        self.state = State::Ended { at, end: End::Failed(error) };
        self.tell("response.failed", watch);
    }

    /// What a later request goes on from. `None` while it has not ended, or when it failed.
    pub(super) fn said(&self) -> Option<Vec<Message>> {
        match &self.state {
            State::Waiting | State::Running | State::Ended { end: End::Failed(_), .. } => None,
            State::Ended { end, .. } => {
                let mut said = self.memo.before.clone();
                said.extend(super::items::messages(&self.memo.input));
                said.extend(self.output.said(end.is_whole()));
                Some(said)
            }
        }
    }

    /// In which form reasoning is told. A request has one for good: its events keep their numbers.
    fn reasoning(&self) -> Kind {
        if self.memo.asks_for_a_summary() { Kind::Summary } else { Kind::Reasoning }
    }

    pub(super) fn tell(&self, name: &'static str, watch: &mut impl Watch) {
        watch.event(name, &OfResponse { response: Resource(self) });
    }
}

/// The object inside the envelope of an error.
pub(super) fn object(error: &ApiError) -> Value {
    let mut envelope = serde_json::to_value(error.envelope()).expect("our own types have string keys");
    envelope.get_mut("error").map(Value::take).unwrap_or_default()
}
