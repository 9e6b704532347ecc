//! A response: its request, and a fold over the entries of its stream (I8). The events and the resource come from the same
//! fold, so that they cannot disagree.

use serde::Serialize;
use serde_json::Value;
use tokenwire_core::{
    Entry, Event, Failure, GenerationId, Message, TextSoFar, Timestamp, token_log::StreamSpec,
};
use utoipa::ToSchema;

use super::{
    metadata::ResponseMetadata,
    output::{Kind, Output, Watch},
    resource::ResponseResource,
    state::{End, State},
};
use crate::{
    front::{problem::Problem, whole},
    openai::error::ErrorObject,
};

/// One response, as of the last entry that was read.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) id: GenerationId,
    pub(super) created_at: Timestamp,
    pub(super) metadata: ResponseMetadata,
    pub(super) output: Output,
    pub(super) state: State,
}

/// What events about the whole response say.
#[derive(Serialize, ToSchema)]
pub(super) struct ResponseEvent<'a> {
    response: ResponseResource<'a>,
}

/// What the event of a failure says.
#[derive(Serialize, ToSchema)]
pub(super) struct ResponseErrorEvent {
    #[schema(value_type = ErrorObject<'_>)]
    error: Value,
}

impl Response {
    pub(super) fn new(id: GenerationId, spec: &StreamSpec) -> Result<Self, Problem> {
        let (created_at, metadata) = (spec.created_at, ResponseMetadata::read(&spec.metadata)?);
        Ok(Self { id, created_at, metadata, output: Output::new(id), state: State::Waiting })
    }

    pub(super) fn resource(&self) -> ResponseResource<'_> {
        let Self { id, created_at, metadata, output, state } = self;
        ResponseResource::of(*id, *created_at, metadata, output, state)
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    /// Whether a later request can continue it.
    pub(super) fn can_be_gone_on_from(&self) -> bool {
        matches!(&self.state, State::Ended { end, .. } if !matches!(end, End::Failed(_)))
    }

    /// Sends the events that come before the first entry.
    pub(super) fn created(&self, watch: &mut impl Watch) {
        self.tell("response.created", watch);
        if self.metadata.background {
            self.tell("response.queued", watch);
        }
    }

    /// Adds an entry. After an end nothing changes.
    pub(super) fn take(&mut self, entry: &Entry, watch: &mut impl Watch) {
        if self.has_ended() {
            return;
        }
        if matches!(self.state, State::Waiting) && !matches!(entry.event, Event::Failed { .. }) {
            self.state = State::Running;
            self.tell("response.in_progress", watch);
        }
        match &entry.event {
            // If text was already sent, the encoder fails the response instead.
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
            Event::Failed { failure } => self.fail(failure.into(), entry.at, watch),
        }
        if self.output.bytes() > whole::MAX_BYTES && !self.has_ended() {
            let most = whole::MAX_BYTES;
            let message =
                format!("the answer is larger than {most} bytes: read it at the address in Location");
            self.fail(Problem::answer_too_large(message), entry.at, watch);
        }
    }

    /// Adds an entry. `Some` if it is the end.
    pub(super) fn take_to_end(&mut self, entry: &Entry) -> Option<()> {
        self.take(entry, &mut ());
        self.has_ended().then_some(())
    }

    /// It will not be complete, or this format cannot show it.
    pub(super) fn fail(&mut self, problem: Problem, at: Timestamp, watch: &mut impl Watch) {
        watch.event("error", &ResponseErrorEvent { error: object(&problem) });
        self.output.break_off();
        self.state = State::Ended { at, end: End::Failed(problem) };
        self.tell("response.failed", watch);
    }

    /// The messages that a later request continues. `None` while it has not ended, or when it failed.
    pub(super) fn said(&self) -> Option<Vec<Message>> {
        match &self.state {
            State::Waiting | State::Running | State::Ended { end: End::Failed(_), .. } => None,
            State::Ended { end, .. } => {
                let mut said = self.metadata.before.clone();
                said.extend(super::items::messages(&self.metadata.input));
                said.extend(self.output.said(end.is_whole()));
                Some(said)
            }
        }
    }

    /// The form in which reasoning is shown. It never changes for a request, so that its events keep their numbers.
    fn reasoning(&self) -> Kind {
        if self.metadata.asks_for_a_summary() { Kind::Summary } else { Kind::Reasoning }
    }

    pub(super) fn tell(&self, name: &'static str, watch: &mut impl Watch) {
        watch.event(name, &ResponseEvent { response: self.resource() });
    }
}

/// A problem as the `error` event shows it.
pub(super) fn object(problem: &Problem) -> Value {
    serde_json::to_value(ErrorObject::of(problem)).expect("our own types have string keys")
}
