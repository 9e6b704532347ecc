//! A response as it comes: numbered events.
//!
//! | Entry | Events |
//! |---|---|
//! | none, at once | `response.created`; in the background also `response.queued` |
//! | the first | `response.in_progress`, unless it is a failure |
//! | text, reasoning | the item before is done, if it was another one; `output_item.added`, `content_part.added` for a new one; a delta |
//! | a piece of a tool call | the same, without parts |
//! | the end | what is open is done; `response.completed` or `response.incomplete` |
//! | a cancellation | `response.incomplete` with the status `cancelled`: the format has no event of its own |
//! | a failure | `error`, then `response.failed` |
//! | an attempt that starts over | nothing if nothing was said; else a failure, because this format cannot take text back |
//!
//! `[DONE]` is last. A reader that was cut names the last number it saw: the fold begins at the start of the log whatever
//! it has seen, so its events are the ones that it would have got.

use serde::Serialize;
use tokenwire_core::{Entry, Event, Seq, TextSoFar};

use super::{super::failure, output::Watch, response::Response};
use crate::sse::{Encoder, Frames};

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

    fn fold(&mut self, frames: &mut Frames, fold: impl FnOnce(&mut Response, &mut Numbered<'_>)) {
        let Self { response, next, after } = self;
        fold(response, &mut Numbered { next, after: *after, frames });
        if self.response.has_ended() {
            frames.openai_done();
        }
    }
}

/// Counts events, and writes those that the reader has not seen.
struct Numbered<'a> {
    next: &'a mut u64,
    after: Option<u64>,
    frames: &'a mut Frames,
}

#[derive(Serialize)]
struct Told<'a, T> {
    r#type: &'static str,
    sequence_number: u64,
    #[serde(flatten)]
    what: &'a T,
}

impl Watch for Numbered<'_> {
    fn event(&mut self, name: &'static str, what: &impl Serialize) {
        let sequence_number = *self.next;
        *self.next += 1;
        if self.after.is_none_or(|after| after < sequence_number) {
            self.frames.named(name, None, &Told { r#type: name, sequence_number, what });
        }
    }
}

impl Encoder for ResponseEncoder {
    fn begin(&mut self, _after: Seq, frames: &mut Frames) {
        self.fold(frames, |response, watch| response.created(watch));
    }

    fn encode(&mut self, entry: &Entry, frames: &mut Frames) {
        self.fold(frames, |response, watch| match entry.event {
            Event::Started { text: TextSoFar::Superseded, .. } if !response.output.is_empty() => {
                response.fail(failure::started_over(), entry.at, watch);
            }
            _ => response.take(entry, watch),
        });
    }

    fn lost(&mut self, frames: &mut Frames) {
        self.fold(frames, |response, watch| {
            response.fail(failure::lost_stream(), response.created_at, watch);
        });
    }

    fn gave_up(&self) -> bool {
        self.response.has_ended()
    }
}
