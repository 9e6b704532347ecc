//! Parses the bytes of a connection as they come: just enough of HTTP/1.1 and of server-sent events, written for speed.
//!
//! Everything is looked at once, where it was received; only an incomplete element is copied. Stricter than the standards:
//! what the server never writes is an error, and a chunk holds whole frames (`docs/http.md`).

use memchr::{memchr, memmem};

/// More than the longest head of a response, in bytes.
const HEAD: usize = 4096;

/// What is wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// Parses one response after the other on a connection.
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
    /// The bytes of an incomplete element.
    rest: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Head,
    /// A body of this length.
    Body(usize),
    ChunkSize,
    /// So many bytes of a chunk are left.
    Chunk(usize),
    /// The line break behind a chunk, or behind the last one.
    ChunkEnd {
        is_last: bool,
    },
}

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Head {
        status: u16,
        bytes: &'a [u8],
    },
    Delta {
        id: u64,
        text: Text<'a>,
    },
    /// A named event.
    Event {
        id: Option<u64>,
        name: &'a [u8],
        data: &'a [u8],
    },
    /// A body with a length.
    Body(&'a [u8]),
    /// The orderly end of a body in chunks.
    End,
}

/// The text of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    pub first_line: &'a [u8],
    /// The `data` lines after the first, as they were sent.
    more: &'a [u8],
}

impl<'a> Text<'a> {
    /// One line.
    pub fn line(first_line: &'a [u8]) -> Self {
        Self { first_line, more: b"" }
    }

    /// The lines, joined.
    ///
    /// # Errors
    /// They are not UTF-8.
    pub fn joined(&self) -> Result<String, Malformed> {
        let more = utf8(self.more)?;
        let more = more.strip_suffix('\n').map(|more| format!("\n{more}").replace("\ndata: ", "\n"));
        Ok(utf8(self.first_line)?.to_owned() + &more.unwrap_or_default())
    }
}

impl Parser {
    /// Passes on what these bytes complete.
    ///
    /// # Errors
    /// The bytes are malformed, or `sink` fails.
    pub fn feed<E: From<Malformed>>(
        &mut self,
        bytes: &[u8],
        mut sink: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.rest.is_empty() {
            let left = self.parse(bytes, &mut sink)?;
            self.rest.extend_from_slice(left);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.rest);
        joined.extend_from_slice(bytes);
        let left = self.parse(&joined, &mut sink)?.len();
        joined.drain(..joined.len() - left);
        self.rest = joined;
        Ok(())
    }

    /// Returns the bytes of an incomplete element.
    fn parse<'a, E: From<Malformed>>(
        &mut self,
        mut bytes: &'a [u8],
        sink: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        while !bytes.is_empty() {
            let left = match self.state {
                State::Head => self.head(bytes, sink)?,
                State::Body(length) => match bytes.split_at_checked(length) {
                    None => None,
                    Some((body, bytes)) => {
                        self.state = State::Head;
                        sink(Part::Body(body))?;
                        Some(bytes)
                    }
                },
                State::ChunkSize => self.chunk_size(bytes)?,
                State::Chunk(size) => {
                    let (chunk, after) = bytes.split_at(size.min(bytes.len()));
                    let left = frames(chunk, sink)?;
                    if chunk.len() == size {
                        ensure(left.is_empty(), || {
                            format!("a frame that is not whole in its chunk: {}", left.escape_ascii())
                        })?;
                        self.state = State::ChunkEnd { is_last: false };
                        Some(after)
                    } else {
                        self.state = State::Chunk(size - (chunk.len() - left.len()));
                        return Ok(left);
                    }
                }
                State::ChunkEnd { is_last } => match bytes.split_at_checked(2) {
                    None => None,
                    Some((end, bytes)) => {
                        ensure(end == b"\r\n", || "a chunk that is longer than its size".into())?;
                        self.state = if is_last { State::Head } else { State::ChunkSize };
                        if is_last {
                            sink(Part::End)?;
                        }
                        Some(bytes)
                    }
                },
            };
            match left {
                Some(left) => bytes = left,
                None => break,
            }
        }
        Ok(bytes)
    }

    fn head<'a, E: From<Malformed>>(
        &mut self,
        bytes: &'a [u8],
        sink: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<Option<&'a [u8]>, E> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            ensure(bytes.len() <= HEAD, || format!("a head without an end: {}", bytes.escape_ascii()))?;
            return Ok(None);
        };
        let (whole, bytes) = bytes.split_at(end + 4);
        let head = utf8(whole)?.to_ascii_lowercase();
        let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| Malformed(format!("a head without a status: {head:?}")))?;
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        self.state = if field("transfer-encoding") == Some("chunked") {
            State::ChunkSize
        } else {
            let length = field("content-length").unwrap_or("0");
            State::Body(
                length.parse().map_err(|_| Malformed(format!("a length that is no number: {length:?}")))?,
            )
        };
        sink(Part::Head { status, bytes: whole })?;
        if let State::Body(0) = self.state {
            self.state = State::Head;
            sink(Part::Body(b""))?;
        }
        Ok(Some(bytes))
    }

    fn chunk_size<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
        let Some((size, bytes)) = line(bytes) else {
            ensure(bytes.len() <= 16, || format!("a chunk without a size: {}", bytes.escape_ascii()))?;
            return Ok(None);
        };
        let digits = size.strip_suffix(b"\r").and_then(|size| std::str::from_utf8(size).ok());
        let size = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let size = size.ok_or_else(|| Malformed("a chunk without a size".into()))?;
        self.state = if size == 0 { State::ChunkEnd { is_last: true } } else { State::Chunk(size) };
        Ok(Some(bytes))
    }
}

/// An element, and the bytes after it. `None` while the element is incomplete.
type Found<'a, T> = Option<(T, &'a [u8])>;

/// Passes the whole frames on, and returns the bytes of an incomplete one.
fn frames<'a, E: From<Malformed>>(
    mut bytes: &'a [u8],
    sink: &mut impl FnMut(Part<'_>) -> Result<(), E>,
) -> Result<&'a [u8], E> {
    while let Some((part, left)) = frame(bytes)? {
        if let Some(part) = part {
            sink(part)?;
        }
        bytes = left;
    }
    Ok(bytes)
}

/// The first frame. A comment has no part.
fn frame(bytes: &[u8]) -> Result<Found<'_, Option<Part<'_>>>, Malformed> {
    let Some((first, mut rest)) = line(bytes) else { return Ok(None) };
    let (mut id, mut head) = (None, first);
    if let Some(number) = first.strip_prefix(b"id: ") {
        let Some((next, after)) = line(rest) else { return Ok(None) };
        (id, head, rest) = (Some(decimal(number)?), next, after);
    }
    // The most frequent frame first.
    if let (Some(id), Some(first_line)) = (id, head.strip_prefix(b"data: ")) {
        let Some((more, left)) = data_lines(rest)? else { return Ok(None) };
        return Ok(Some((Some(Part::Delta { id, text: Text { first_line, more } }), left)));
    }
    let part = if let Some(name) = head.strip_prefix(b"event: ") {
        let Some((data, after)) = line(rest) else { return Ok(None) };
        rest = after;
        let data =
            data.strip_prefix(b"data:").ok_or_else(|| Malformed("a named event without data".into()))?;
        Some(Part::Event { id, name, data })
    } else if let (Some(id), b"") = (id, head) {
        // A text without content: an id alone. Its blank line is read already.
        let text = Text::line(b"");
        return Ok(Some((Some(Part::Delta { id, text }), rest)));
    } else {
        let is_known = id.is_none() && (head == b":" || head.starts_with(b"retry: "));
        ensure(is_known, || format!("an unknown line: {}", head.escape_ascii()))?;
        None
    };
    let Some((end, left)) = line(rest) else { return Ok(None) };
    ensure(end.is_empty(), || format!("an unknown line: {}", end.escape_ascii()))?;
    Ok(Some((part, left)))
}

/// The further `data` lines of a frame. The bytes after it begin the next frame.
fn data_lines(bytes: &[u8]) -> Result<Found<'_, &[u8]>, Malformed> {
    let mut rest = bytes;
    loop {
        let Some((line, left)) = line(rest) else { return Ok(None) };
        if line.is_empty() {
            return Ok(Some((&bytes[..bytes.len() - rest.len()], left)));
        }
        ensure(line.starts_with(b"data: "), || format!("an unknown line: {}", line.escape_ascii()))?;
        rest = left;
    }
}

fn line(bytes: &[u8]) -> Found<'_, &[u8]> {
    let end = memchr(b'\n', bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Malformed> {
    if holds { Ok(()) } else { Err(Malformed(what())) }
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed(format!("no UTF-8: {}", bytes.escape_ascii())))
}

/// The number at the start of a text, or 0.
pub fn leading_number(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

fn decimal(bytes: &[u8]) -> Result<u64, Malformed> {
    let number = !bytes.is_empty() && bytes.len() < 19 && bytes.iter().all(u8::is_ascii_digit);
    ensure(number, || format!("an id that is no number: {}", bytes.escape_ascii()))?;
    Ok(leading_number(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSES: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        29\r\nretry: 1000\n\nevent: queued\ndata:{\"a\":1}\n\n\r\n\
        21\r\nid: 1\nevent: started\ndata:{\"b\"}\n\n\r\n\
        3\r\n:\n\n\r\n\
        31\r\nid: 2\ndata:  word\n\nid: 3\ndata: a\ndata: b\n\nid: 4\n\n\r\n\
        0\r\n\r\n\
        HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone\
        HTTP/1.1 204 No Content\r\n\r\n";

    fn read(bytes: &[u8], size: usize) -> Result<Vec<String>, Malformed> {
        let (mut parser, mut parts) = (Parser::default(), Vec::new());
        for bytes in bytes.chunks(size) {
            parser.feed(bytes, |part| {
                parts.push(match part {
                    Part::Head { status, .. } => format!("{status}"),
                    Part::Delta { id, text } => format!("{id} {:?}", text.joined()?),
                    Part::Event { id, name, data } => {
                        format!("{id:?} {} {}", name.escape_ascii(), data.escape_ascii())
                    }
                    Part::Body(body) => format!("{}", body.escape_ascii()),
                    Part::End => "end".into(),
                });
                Ok(())
            })?;
        }
        Ok(parts)
    }

    #[test]
    fn responses_do_not_depend_on_how_their_bytes_come() {
        let expected = [
            "200",
            r#"None queued {\"a\":1}"#,
            r#"Some(1) started {\"b\"}"#,
            r#"2 " word""#,
            r#"3 "a\nb""#,
            r#"4 """#,
            "end",
            "404",
            "none",
            "204",
            "",
        ];
        for size in [1, 2, 3, 7, 64, 10_000] {
            assert_eq!(read(RESPONSES.as_bytes(), size).unwrap(), expected, "by {size}");
        }
    }

    #[test]
    fn what_the_server_never_writes_is_an_error() {
        for bad in [
            "id: x\ndata: a\n\n",
            "id: 1\ndata: cut\n",
            "nonsense\n\n",
            "event: a\nnonsense\n\n",
            "event: a\ndata:{}\nnonsense\n\n",
            "id: 1\ndata: a\nnonsense\n\n",
            "data: without an id\n\n",
            "id: 1\nretry: 1\n\n",
        ] {
            let bytes =
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{bad}\r\n", bad.len());
            assert!(read(bytes.as_bytes(), 10_000).is_err() && read(bytes.as_bytes(), 1).is_err(), "{bad:?}");
        }
        assert!(read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n", 10_000).is_err());
        assert!(read(b"nonsense\r\n\r\n", 10_000).is_err());
    }
}
