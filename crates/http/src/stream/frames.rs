//! How an event is written.
//!
//! - Only whole frames are handed on: some readers lose an event whose lines arrive in two reads. Several frames may be
//!   sent together.
//! - Text is split at every line break, each line on a `data:` line of its own, so no text can end its frame or begin
//!   another field. Parsers join the lines with LF: CR and CRLF arrive as LF.
//! - A named event is written `data:{...}` and text `data: ...`. A parser reads both alike. A reader that prints what
//!   follows `data: ` prints only the text.
//! - Text without content is written as `id:` alone. A parser moves its cursor and dispatches nothing.
//!
//! **CR at the end of a delta.** CRLF is one line break, even when it is split between two deltas. A frame depends only on
//! its own entry: otherwise resuming between the two would give other bytes. So a frame leaves out a CR at its end, and the
//! LF of the next delta breaks the line. A bare CR at the end of a delta is lost. Writing it as a line break would double
//! every split CRLF, and models do not write bare CRs.

use std::time::Duration;

use axum::body::Bytes;
use bytes::BufMut;
use serde::Serialize;
use tokenwire_core::Seq;

use super::sink::Sink;

/// The usual size of a delta's frame, in bytes.
const ROOM: usize = 128;

/// Whole frames, ready to be sent together.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// How long the reader waits before it reconnects.
    pub(crate) fn retry(&mut self, after: Duration) {
        self.line("retry", itoa::Buffer::new().format(after.as_millis()));
        self.end();
    }

    /// A delta of text.
    pub(crate) fn text(&mut self, id: Seq, text: &str) {
        self.id(id);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if !text.is_empty() {
            for line in Lines(Some(text)) {
                self.line("data", line);
            }
        }
        self.end();
    }

    /// A JSON object in an event without a name, as OpenAI writes it.
    pub(crate) fn object(&mut self, data: &impl Serialize) {
        self.bytes.put_slice(b"data: ");
        self.json(data);
    }

    /// The end of an OpenAI stream.
    pub(crate) fn openai_done(&mut self) {
        self.bytes.put_slice(b"data: [DONE]\n\n");
    }

    /// An event with a name and a JSON object. `id` is the entry it belongs to, if any.
    pub(crate) fn named(&mut self, name: &'static str, id: Option<Seq>, data: &impl Serialize) {
        if let Some(id) = id {
            self.id(id);
        }
        self.line("event", name);
        self.bytes.put_slice(b"data:");
        self.json(data);
    }

    /// The rest of a frame.
    fn json(&mut self, data: &impl Serialize) {
        // JSON escapes line breaks inside strings, and the compact form has none outside.
        serde_json::to_writer((&mut self.bytes).writer(), data)
            .expect("memory takes every write, and our own types have string keys");
        self.bytes.put_u8(b'\n');
        self.end();
    }

    /// Takes the frames so far.
    pub(crate) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes).into()
    }

    fn id(&mut self, id: Seq) {
        // Most deltas begin here, so this allocates enough for the whole frame.
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(ROOM);
        }
        self.line("id", itoa::Buffer::new().format(id.get()));
    }

    fn line(&mut self, field: &'static str, value: &str) {
        for part in [field, ": ", value, "\n"] {
            self.bytes.put_slice(part.as_bytes());
        }
    }

    fn end(&mut self) {
        self.bytes.put_u8(b'\n');
    }
}

impl Sink for Frames {
    fn heartbeat(&mut self) {
        self.bytes.put_slice(b":\n\n");
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// The lines of a text: one more than it has line breaks. `str::lines` drops an empty last line and does not split at CR.
struct Lines<'a>(Option<&'a str>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0?;
        let Some((line, rest)) = text.split_once(['\r', '\n']) else {
            self.0 = None;
            return Some(text);
        };
        // `get` cannot fail: the break is one byte long.
        let crlf = text.as_bytes().get(line.len()) == Some(&b'\r') && rest.starts_with('\n');
        self.0 = Some(if crlf { rest.strip_prefix('\n').unwrap_or(rest) } else { rest });
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use eventsource_stream::Eventsource;
    use futures::{FutureExt, StreamExt, stream};
    use proptest::prelude::*;

    use super::*;

    /// What a third-party parser reads from the deltas: the text and the last id.
    fn parsed(pieces: &[String]) -> (String, String) {
        let mut frames = Frames::default();
        for (index, piece) in pieces.iter().enumerate() {
            frames.text(Seq::START.plus(index + 1), piece);
        }
        frames.named("done", Some(Seq::START.plus(pieces.len() + 1)), &serde_json::json!({}));
        let bytes = stream::iter([Ok::<_, std::convert::Infallible>(frames.take())]);
        let events = bytes.eventsource().map(Result::unwrap).collect::<Vec<_>>().now_or_never().unwrap();
        let (last, texts) = events.split_last().unwrap();
        assert!(texts.iter().all(|event| event.event == "message"), "text became another event: {events:?}");
        assert_eq!((&*last.event, &*last.data), ("done", "{}"));
        (texts.iter().map(|event| &*event.data).collect(), last.id.clone())
    }

    fn text(text: &str) -> String {
        let mut frames = Frames::default();
        frames.text(Seq::new(7), text);
        String::from_utf8(frames.take().to_vec()).unwrap()
    }

    #[test]
    fn every_line_of_a_text_has_its_own_data_line() {
        assert_eq!(text("word"), "id: 7\ndata: word\n\n");
        assert_eq!(text(" two  "), "id: 7\ndata:  two  \n\n");
        assert_eq!(text("a\nb\rc\r\nd"), "id: 7\ndata: a\ndata: b\ndata: c\ndata: d\n\n");
        assert_eq!(text("\n"), "id: 7\ndata: \ndata: \n\n");
        assert_eq!(text("a\n\r\nb\n"), "id: 7\ndata: a\ndata: \ndata: b\ndata: \n\n");
        assert_eq!(text("\r\r\n"), "id: 7\ndata: \ndata: \ndata: \n\n");
        assert_eq!(text("👩‍🚀 é\u{2028}x\u{0}"), "id: 7\ndata: 👩‍🚀 é\u{2028}x\u{0}\n\n");
    }

    #[test]
    fn a_line_break_cut_between_two_deltas_is_written_once() {
        assert_eq!(text("a\r") + &text("\nb"), "id: 7\ndata: a\n\nid: 7\ndata: \ndata: b\n\n");
    }

    #[test]
    fn text_without_content_moves_the_cursor_and_dispatches_nothing() {
        assert_eq!(text(""), "id: 7\n\n");
        assert_eq!(text("\r"), "id: 7\n\n");
    }

    #[test]
    fn named_events_hide_from_readers_that_look_for_text() {
        let mut frames = Frames::default();
        frames.named("error", Some(Seq::new(9)), &serde_json::json!({"message": "a\nb\r\n\ndata: c"}));
        frames.named("queued", None, &serde_json::json!({}));
        let expected =
            "id: 9\nevent: error\ndata:{\"message\":\"a\\nb\\r\\n\\ndata: c\"}\n\nevent: queued\ndata:{}\n\n";
        assert_eq!(frames.take(), expected);
        assert!(frames.is_empty());
    }

    #[test]
    fn retry_and_heartbeat_dispatch_nothing() {
        let mut frames = Frames::default();
        frames.retry(Duration::from_secs(1));
        frames.heartbeat();
        assert_eq!(frames.take(), "retry: 1000\n\n:\n\n");
    }

    proptest! {
        #[test]
        fn a_parser_reads_every_text_and_nothing_else(pieces: Vec<String>) {
            let expected: String = pieces
                .iter()
                .map(|piece| piece.strip_suffix('\r').unwrap_or(piece).replace("\r\n", "\n").replace('\r', "\n"))
                .collect();
            prop_assert_eq!(parsed(&pieces), (expected, (pieces.len() + 1).to_string()));
        }

        #[test]
        fn no_text_breaks_out_of_its_frame(pieces in prop::collection::vec("(\r|\n|:| |data|event|id|retry|é|\u{feff}|\0){0,12}", 0..8)) {
            let (text, id) = parsed(&pieces);
            prop_assert!(!text.contains('\r'));
            prop_assert_eq!(id, (pieces.len() + 1).to_string());
        }

        #[test]
        fn the_text_does_not_depend_on_how_it_was_cut(lines in prop::collection::vec("([a-é ]{0,3}(\n|\r\n)?){0,4}", 0..8), cuts: Vec<prop::sample::Index>) {
            let text: String = lines.concat();
            let chars: Vec<_> = text.chars().collect();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(chars.len() + 1)).chain([0, chars.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<String> = cuts.windows(2).map(|cut| chars[cut[0]..cut[1]].iter().collect()).collect();
            prop_assert_eq!(parsed(&pieces).0, text.replace("\r\n", "\n"));
        }
    }
}
