//! A response as it comes: numbered events.
//!
//! | Entry | Events |
//! |---|---|
//! | none, at once | `response.created`; in the background also `response.queued` |
//! | the first | `response.in_progress`, unless it is a failure |
//! | text, reasoning | the item before is done, if it was another one; `output_item.added`, `content_part.added` for a new one; a delta |
//! | reasoning, where a summary was asked for | the same by other names: `reasoning_summary_part.added` and so on, as many |
//! | a piece of a tool call | the same, without parts |
//! | the end | what is open is done; `response.completed` or `response.incomplete` |
//! | a cancellation | `response.incomplete` with the status `cancelled`: the format has no event of its own |
//! | a failure | `error`, then `response.failed` |
//! | an attempt that starts over | nothing if nothing was said; else a failure, because this format cannot take text back |
//!
//! `[DONE]` is last, on a socket nothing. A reader that was cut names the last number it saw: the fold begins at the start of the log whatever
//! it has seen, so its events are the ones that it would have got.

use serde::Serialize;
use tokenwire_core::{Entry, Event, Seq, TextSoFar};

use super::{output::Watch, response::Response};
use crate::{
    front::problem::Problem,
    stream::{frames::Frames, reader::Encoder, sink::Sink, websocket::Messages},
};

/// What takes numbered events: a stream of SSE, or a socket.
pub(super) trait Events: Sink {
    fn event(&mut self, name: &'static str, what: &impl Serialize);

    /// Nothing follows.
    fn end(&mut self);
}

impl Events for Frames {
    fn event(&mut self, name: &'static str, what: &impl Serialize) {
        self.named(name, None, what);
    }

    fn end(&mut self) {
        self.openai_done();
    }
}

/// The type inside each event is its name, and the next response follows on the same socket.
impl Events for Messages {
    fn event(&mut self, _name: &'static str, what: &impl Serialize) {
        self.object(what);
    }

    fn end(&mut self) {}
}

#[derive(Debug)]
pub(super) struct ResponseEncoder {
    response: Response,
    next: u64,
    after: Option<u64>,
}

impl ResponseEncoder {
    /// Every event, or those after a number. The stream is to be read from its start.
    pub(super) fn new(response: Response, after: Option<u64>) -> Self {
        Self { response, next: 0, after }
    }

    /// The response, as far as it was told.
    pub(super) fn response(&self) -> &Response {
        &self.response
    }

    fn fold<S: Events>(&mut self, sink: &mut S, fold: impl FnOnce(&mut Response, &mut Numbered<'_, S>)) {
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

impl<S: Events> Watch for Numbered<'_, S> {
    fn event(&mut self, name: &'static str, what: &impl Serialize) {
        let sequence_number = *self.next;
        *self.next += 1;
        if self.after.is_none_or(|after| after < sequence_number) {
            self.sink.event(name, &Told { r#type: name, sequence_number, what });
        }
    }
}

impl<S: Events> Encoder<S> for ResponseEncoder {
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
