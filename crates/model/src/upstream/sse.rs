//! Bytes to server-sent events.
//!
//! By the rules of the HTML standard, at any split of the bytes: lines end with LF, CR or CRLF, a byte order mark may come
//! first, comments and unknown fields are ignored, several `data` lines are one text. Two differences: an event has a
//! bound, and the end of the body completes one that lacks its blank line (some servers end so; a piece of JSON that was
//! cut does not parse). Our own, because the parser that the tests use (`eventsource-stream`) breaks on a byte order
//! mark and buffers without a bound.

/// The most bytes of one event, and of one line: far more than a piece of an answer, and little enough to be held by every
/// stream of a worker.
const MAX_BYTES: usize = 1024 * 1024;

const BOM: &[u8] = "\u{feff}".as_bytes();

/// One event: what its `data` lines say, and its name where it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

/// The state between two pieces of a body.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The line that has begun, without its end.
    line: Vec<u8>,
    /// The last line ended with CR: an LF right after it belongs to it.
    after_cr: bool,
    /// The first line is behind us, and with it a byte order mark.
    begun: bool,
    event: Event,
    has_data: bool,
}

/// What was sent is no event stream, or an event has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("an event is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("a line is not UTF-8")]
    NotText,
}

impl Decoder {
    /// The events that these bytes complete.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, Malformed> {
        let mut events = Vec::new();
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.event.data.len() + self.line.len() + line.len() > MAX_BYTES {
                return Err(Malformed::TooLong);
            }
            self.line.extend_from_slice(line);
            if let Some((end, rest)) = rest.split_first() {
                self.after_cr = *end == b'\r';
                events.extend(self.end_line()?);
                bytes = rest;
            } else {
                bytes = &[];
            }
        }
        Ok(events)
    }

    /// The event that the end of the body completes.
    pub(super) fn finish(&mut self) -> Result<Option<Event>, Malformed> {
        Ok(self.end_line()?.or_else(|| self.dispatch()))
    }

    fn end_line(&mut self) -> Result<Option<Event>, Malformed> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        let line = std::str::from_utf8(line).map_err(|_| Malformed::NotText)?;
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event.name),
            // A comment, whose field is empty, or a field that a reader of answers has no use for.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<Event> {
        let event = std::mem::take(&mut self.event);
        std::mem::take(&mut self.has_data).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in pieces {
            events.extend(decoder.push(piece).unwrap());
        }
        events.extend(decoder.finish().unwrap());
        events
    }

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into() }
    }

    const BODIES: &[&str] = &[
        "data: a\n\ndata: b\n\n",
        "data: a\r\n\r\ndata: b\r\n\r\n",
        "data: a\r\rdata: b\r\r",
        "\u{feff}data: a\n\n: comment\n\ndata: b\n\n",
        "\u{feff}:\r\n\r\ndata:a\r\n\r\n:\r\ndata:b\r\nid: 7\r\nretry: x\r\n\r\n",
        "id: 1\n\ndata: a\nunknown\n\ndata: b",
        "data: a\n\nevent\n\ndata: b\n",
    ];

    #[test]
    fn a_body_means_the_same_cut_at_every_two_bytes() {
        for body in BODIES {
            let body = body.as_bytes();
            for first in 0..=body.len() {
                for second in first..=body.len() {
                    let pieces = [&body[..first], &body[first..second], &body[second..]];
                    assert_eq!(decode(&pieces), [event("", "a"), event("", "b")], "{pieces:?}");
                }
            }
        }
    }

    #[test]
    fn names_several_lines_and_characters_survive_every_cut() {
        let body = "event: error\r\ndata: é🦀\r\ndata:  two \r\ndata\r\n\r\ndata:\n\n".as_bytes();
        for cut in 0..=body.len() {
            let events = decode(&[&body[..cut], &body[cut..]]);
            assert_eq!(events, [event("error", "é🦀\n two \n"), event("", "")], "{cut}");
        }
    }

    #[test]
    fn only_the_first_byte_order_mark_is_dropped() {
        let events = decode(&["\u{feff}data: \u{feff}a\n\n\u{feff}data: b\n\n".as_bytes()]);
        assert_eq!(events, [event("", "\u{feff}a")]);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut decoder = Decoder::default();
        let result = (0..=MAX_BYTES / 1000).find_map(|_| decoder.push(&[b'x'; 1000]).err());
        assert_eq!(result, Some(Malformed::TooLong));
        let line = [b"data:", [b'x'; 1000].as_slice(), b"\n"].concat();
        let mut decoder = Decoder::default();
        let result = (0..=MAX_BYTES / 1000).find_map(|_| decoder.push(&line).err());
        assert_eq!(result, Some(Malformed::TooLong));
    }

    #[test]
    fn what_is_not_text_is_refused() {
        assert_eq!(Decoder::default().push(b"data: \xff\n\n"), Err(Malformed::NotText));
        assert_eq!(
            Decoder { line: b"data: \xc3".into(), ..Decoder::default() }.finish(),
            Err(Malformed::NotText)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_mean_the_same_at_any_cut(body: Vec<u8>, cut: prop::sample::Index) {
            let cut = cut.index(body.len() + 1);
            let whole = |pieces: &[&[u8]]| {
                let mut decoder = Decoder::default();
                let mut events = Vec::new();
                for piece in pieces {
                    events.extend(decoder.push(piece)?);
                }
                events.extend(decoder.finish()?);
                Ok::<_, Malformed>(events)
            };
            prop_assert_eq!(whole(&[&body]), whole(&[&body[..cut], &body[cut..]]));
        }

        #[test]
        fn any_lines_mean_the_same_at_any_cut(body in "(data|event|:|a|é|: |\r|\n|\u{feff}){0,40}", cut: prop::sample::Index) {
            let body = body.as_bytes();
            let cut = cut.index(body.len() + 1);
            prop_assert_eq!(decode(&[body]), decode(&[&body[..cut], &body[cut..]]));
        }
    }
}
