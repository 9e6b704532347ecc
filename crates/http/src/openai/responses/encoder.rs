//! A response as a stream of numbered events.
//!
//! | Entry | Events |
//! |---|---|
//! | none, at once | `response.created`; in the background also `response.queued` |
//! | the first | `response.in_progress`, unless it is a failure |
//! | text, reasoning | the item before is done, if it was another one; `output_item.added`, `content_part.added` for a new one; a delta |
//! | reasoning, where a summary was asked for | the same by other names: `reasoning_summary_part.added` and so on, as many |
//! | a delta of a tool call | the same, without parts |
//! | the end | open items are done; `response.completed` or `response.incomplete` |
//! | a cancellation | `response.incomplete` with the status `cancelled`: the format has no event of its own |
//! | a failure | `error`, then `response.failed` |
//! | an attempt that starts over | nothing if nothing was said; else a failure, because this format cannot take text back |
//!
//! `[DONE]` is last; on a WebSocket nothing is. A client that was cut off names the last number it saw. The fold always begins
//! at the start of the log, so the client gets the same events as without the cut.

use serde::Serialize;
use tokenwire_core::{Entry, Event, Seq, TextSoFar};

use super::{
    output::{self, Watch},
    response::{Response, ResponseErrorEvent, ResponseEvent},
};
use crate::{
    front::{
        events::{Events, event_stream},
        problem::Problem,
    },
    stream::{frames::Frames, reader::Encoder, sink::Sink, websocket::Messages},
};

/// A sink for numbered events: SSE, or a WebSocket.
pub(super) trait EventSink: Sink {
    fn event(&mut self, name: &'static str, what: &impl Serialize);

    /// Nothing follows.
    fn end(&mut self);
}

impl EventSink for Frames {
    fn event(&mut self, name: &'static str, what: &impl Serialize) {
        self.named(name, None, what);
    }

    fn end(&mut self) {
        self.openai_done();
    }
}

/// The type inside each event is its name, and the next response follows on the same socket.
impl EventSink for Messages {
    fn event(&mut self, _name: &'static str, what: &impl Serialize) {
        self.object(what);
    }

    fn end(&mut self) {}
}

event_stream!(
    /// The stream of a response, for the OpenAPI document.
    ResponseEvents,
    events()
);

/// The events that [`ResponseEncoder`] writes.
fn events() -> Events {
    let events = Events::new(
        "Every event has its number, from 0 without a gap, and is the same for ever and at every replica. The name of an event is \
         its `type`. `[DONE]` is last; a body that ends without it was cut: resume after the last number. Comments (`:`) fill \
         silence.",
    )
    .numbered::<ResponseEvent<'_>>("response.created", "It is stored.")
    .numbered::<ResponseEvent<'_>>("response.queued", "In the background: it waits for a worker.")
    .numbered::<ResponseEvent<'_>>("response.in_progress", "A worker has begun.");
    output::events(events)
        .numbered::<ResponseEvent<'_>>("response.completed", "The answer is complete.")
        .numbered::<ResponseEvent<'_>>(
            "response.incomplete",
            "It ended early, and `incomplete_details` says why; or it was stopped, and its status is `cancelled`.",
        )
        .numbered::<ResponseErrorEvent>("error", "It failed, or cannot be shown here. `response.failed` follows.")
        .numbered::<ResponseEvent<'_>>("response.failed", "It will not be complete.")
        .literal("[DONE]", "The end.")
}

#[derive(Debug)]
pub(super) struct ResponseEncoder {
    response: Response,
    next: u64,
    after: Option<u64>,
}

impl ResponseEncoder {
    /// Writes every event, or those after a number. It must get every entry of the stream, from the start.
    pub(super) fn new(response: Response, after: Option<u64>) -> Self {
        Self { response, next: 0, after }
    }

    /// The response as of the last entry.
    pub(super) fn response(&self) -> &Response {
        &self.response
    }

    fn fold<S: EventSink>(&mut self, sink: &mut S, fold: impl FnOnce(&mut Response, &mut Numbered<'_, S>)) {
        let Self { response, next, after } = self;
        fold(response, &mut Numbered { next, after: *after, sink });
        if self.response.has_ended() {
            sink.end();
        }
    }
}

/// Counts events, and writes those that the reader has not seen.
pub(super) struct Numbered<'a, S> {
    pub(super) next: &'a mut u64,
    pub(super) after: Option<u64>,
    pub(super) sink: &'a mut S,
}

#[derive(Serialize)]
struct Told<'a, T> {
    r#type: &'static str,
    sequence_number: u64,
    #[serde(flatten)]
    what: &'a T,
}

impl<S: EventSink> Watch for Numbered<'_, S> {
    fn event(&mut self, name: &'static str, what: &impl Serialize) {
        let sequence_number = *self.next;
        *self.next += 1;
        if self.after.is_none_or(|after| after < sequence_number) {
            self.sink.event(name, &Told { r#type: name, sequence_number, what });
        }
    }
}

impl<S: EventSink> Encoder<S> for ResponseEncoder {
    fn begin(&mut self, _after: Seq, sink: &mut S) {
        self.fold(sink, |response, watch| response.created(watch));
    }

    fn encode(&mut self, entry: &Entry, sink: &mut S) {
        self.fold(sink, |response, watch| match entry.event {
            Event::Started { text: TextSoFar::Superseded, .. } if !response.output.is_empty() => {
                response.fail(Problem::started_over(), entry.at, watch);
            }
            _ => response.take(entry, watch),
        });
    }

    fn lost(&mut self, sink: &mut S) {
        self.fold(sink, |response, watch| {
            response.fail(Problem::stream_lost(), response.created_at, watch);
        });
    }

    fn gave_up(&self) -> bool {
        self.response.has_ended()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;
    use tokenwire_core::{Attempt, Failure, FinishReason, GenerationId, Timestamp, ToolCallDelta, Usage};

    use super::{
        super::{metadata::ResponseMetadata, output::Output, state::State},
        *,
    };

    /// Collects the names of events.
    #[derive(Default)]
    struct Names(BTreeSet<&'static str>);

    impl Watch for Names {
        fn event(&mut self, name: &'static str, _what: &impl Serialize) {
            self.0.insert(name);
        }
    }

    #[test]
    fn every_event_that_is_written_is_described_and_no_other() {
        let mut names = Names::default();
        let usage = Usage::default();
        let call = ToolCallDelta { index: 0, id: None, name: None, arguments: "{}".to_owned() };
        for (last, reasoning) in [
            (Event::Finished { reason: FinishReason::Stop, usage }, json!({"summary": "auto"})),
            (Event::Finished { reason: FinishReason::Length, usage }, json!({"summary": null})),
            (Event::Failed { failure: Failure::TimedOut }, json!(null)),
        ] {
            let id = GenerationId::fresh();
            let mut metadata = ResponseMetadata { background: true, ..ResponseMetadata::default() };
            metadata.echo.insert("reasoning".to_owned(), reasoning);
            let (created_at, output, state) = (Timestamp::from_millis(0), Output::new(id), State::Waiting);
            let mut response = Response { id, created_at, metadata, output, state };
            response.created(&mut names);
            let events = [
                Event::Started { attempt: Attempt::new(1), text: TextSoFar::Kept, region: None },
                Event::Reasoning { text: "a".to_owned() },
                Event::Delta { text: "a".to_owned(), tokens: Vec::new() },
                Event::ToolCall(call.clone()),
                last,
            ];
            for (index, event) in events.into_iter().enumerate() {
                let seq = Seq::new(index as u64 + 1);
                response.take(&Entry { seq, at: Timestamp::from_millis(0), event }, &mut names);
            }
        }
        assert_eq!(events().names(), names.0);
    }
}
