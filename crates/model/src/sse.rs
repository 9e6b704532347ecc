//! Decodes server-sent events, for every answer that this workspace reads: an upstream's, and a server's in the CLI.
//!
//! Follows the HTML standard, however the bytes are cut: lines end with LF, CR or CRLF; a byte order mark may come first;
//! comments and unknown fields are ignored; several `data` lines are one text; the last id stays. It differs in two ways:
//!
//! - A line and an event have a maximum length.
//! - [`Decoder::finish`] also returns an event without its blank line, because some upstreams omit the last one. A reader
//!   that resumes does not call it: half an event is no event.

const BOM: &[u8] = "\u{feff}".as_bytes();

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// From `event`. Empty when the event has none, which means `message`.
    pub name: String,
    /// The `data` lines.
    pub data: String,
    /// The last id of the stream, of this event or of an earlier one. Empty before the first.
    pub id: String,
}

/// Decodes the body of one response.
#[derive(Debug)]
pub struct Decoder {
    max_bytes: usize,
    /// The line that has begun, without its end.
    line: Vec<u8>,
    /// The last line ended with CR: an LF right after it belongs to it.
    after_cr: bool,
    /// The first line is behind us, and with it a byte order mark.
    begun: bool,
    event: Event,
    has_data: bool,
}

/// Why a body is not a stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A line or an event exceeds the maximum length.
    #[error("an event is longer than {max_bytes} bytes")]
    TooLong {
        /// The maximum length.
        max_bytes: usize,
    },
    /// A line is not UTF-8.
    #[error("a line is not UTF-8")]
    NotText,
}

impl Decoder {
    /// A decoder that holds at most `max_bytes` of an event and of a line.
    pub fn new(max_bytes: usize) -> Self {
        let (line, event) = (Vec::new(), Event::default());
        Self { max_bytes, line, after_cr: false, begun: false, event, has_data: false }
    }

    /// The events that these bytes complete.
    ///
    /// # Errors
    /// [`Malformed`]: the body cannot be read any further.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, Malformed> {
        let mut events = Vec::new();
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.event.data.len() + self.line.len() + line.len() > self.max_bytes {
                return Err(Malformed::TooLong { max_bytes: self.max_bytes });
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
    ///
    /// # Errors
    /// [`Malformed`]: the last line cannot be read.
    pub fn finish(&mut self) -> Result<Option<Event>, Malformed> {
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
            "id" if !value.contains('\0') => value.clone_into(&mut self.event.id),
            // A comment has an empty field. Readers of answers do not use other fields.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<Event> {
        let next = Event { id: self.event.id.clone(), ..Event::default() };
        let event = std::mem::replace(&mut self.event, next);
        std::mem::take(&mut self.has_data).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_BYTES: usize = 10_000;

    fn try_decode(pieces: &[&[u8]]) -> Result<Vec<Event>, Malformed> {
        let mut decoder = Decoder::new(MAX_BYTES);
        let mut events = Vec::new();
        for piece in pieces {
            events.extend(decoder.push(piece)?);
        }
        events.extend(decoder.finish()?);
        Ok(events)
    }

    fn decode(pieces: &[&[u8]]) -> Vec<Event> {
        try_decode(pieces).unwrap()
    }

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into(), id: String::new() }
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
                    let events = decode(&pieces);
                    let data: Vec<_> = events.iter().map(|event| (&*event.name, &*event.data)).collect();
                    assert_eq!(data, [("", "a"), ("", "b")], "{pieces:?}");
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
    fn an_id_stays_until_the_next_one_and_an_id_with_nul_is_ignored() {
        let body =
            "data: a\n\nid: 1\ndata: b\n\ndata: c\n\nid: 2\n\ndata: d\n\nid: 3\0\ndata: e\n\nid\ndata: f\n\n";
        let ids: Vec<_> = decode(&[body.as_bytes()]).into_iter().map(|event| event.id).collect();
        assert_eq!(ids, ["", "1", "1", "2", "2", ""]);
    }

    #[test]
    fn half_an_event_is_no_event_without_the_end_of_the_body() {
        let mut decoder = Decoder::new(MAX_BYTES);
        assert_eq!(decoder.push(b"id: 1\ndata: a\n"), Ok(Vec::new()));
        assert_eq!(decoder.finish(), Ok(Some(Event { id: "1".into(), ..event("", "a") })));
    }

    #[test]
    fn a_line_and_an_event_have_a_maximum_length() {
        let too_long = Malformed::TooLong { max_bytes: MAX_BYTES };
        let line = [b"data:", [b'x'; 995].as_slice(), b"\n"].concat();
        for endless in [[b'x'; 1000].as_slice(), &line] {
            let mut decoder = Decoder::new(MAX_BYTES);
            let pushed: Vec<_> = (0..=MAX_BYTES / 995).map(|_| decoder.push(endless)).collect();
            assert!(pushed[..9].iter().all(Result::is_ok));
            assert_eq!(pushed.last(), Some(&Err(too_long)));
        }
        let whole = [&line[..], b"\n"].concat();
        let mut decoder = Decoder::new(MAX_BYTES);
        assert!((0..100).all(|_| decoder.push(&whole).unwrap().len() == 1), "the limit is of one event");
        assert_eq!(too_long.to_string(), "an event is longer than 10000 bytes");
    }

    #[test]
    fn what_is_not_utf8_is_refused() {
        assert_eq!(try_decode(&[b"data: \xff\n\n"]), Err(Malformed::NotText));
        assert_eq!(try_decode(&[b"data: \xc3"]), Err(Malformed::NotText));
    }

    proptest! {
        #[test]
        fn any_bytes_mean_the_same_at_any_cut(body: Vec<u8>, cut: prop::sample::Index) {
            let cut = cut.index(body.len() + 1);
            prop_assert_eq!(try_decode(&[&body]), try_decode(&[&body[..cut], &body[cut..]]));
        }

        #[test]
        fn any_lines_mean_the_same_at_any_cut(body in "(data|event|id|:|a|é|: |\r|\n|\0|\u{feff}){0,40}", cut: prop::sample::Index) {
            let body = body.as_bytes();
            let cut = cut.index(body.len() + 1);
            prop_assert_eq!(decode(&[body]), decode(&[&body[..cut], &body[cut..]]));
        }
    }
}
