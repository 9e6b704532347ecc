//! Bytes of a connection to events, as they come: just enough of HTTP/1.1 and of Server-Sent Events, written for speed.
//!
//! Everything is looked at once, where it was received; only what is not whole yet is copied. Stricter than the standards:
//! what the server never writes is an error, and a chunk holds whole frames (`docs/http.md`).

use anyhow::{Context, Result, bail, ensure};
use memchr::{memchr, memmem};

/// More than the longest head of an answer.
const HEAD: usize = 4096;

/// One answer after the other on a connection.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    stage: Stage,
    /// What came of an element that is not whole.
    rest: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Head,
    Chunks,
    /// A body of this length.
    Length(usize),
}

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Head {
        status: u16,
        bytes: &'a [u8],
    },
    /// A piece of text; its first line, if it is several.
    Piece {
        id: u64,
        text: &'a [u8],
    },
    /// A named event, with the id if it has one.
    Event {
        id: Option<u64>,
        name: &'a [u8],
        data: &'a [u8],
    },
    /// A body that came in one.
    Body(&'a [u8]),
    /// The polite end of an answer in chunks.
    End,
}

impl Answer {
    /// Hands on what these bytes complete.
    ///
    /// # Errors
    /// What is wrong with the bytes, or what `sink` says is wrong with them.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(Part<'_>) -> Result<()>) -> Result<()> {
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

    /// Returns what is left over.
    fn parse<'a>(
        &mut self,
        mut bytes: &'a [u8],
        sink: &mut impl FnMut(Part<'_>) -> Result<()>,
    ) -> Result<&'a [u8]> {
        while !bytes.is_empty() {
            let whole = match self.stage {
                Stage::Head => self.head(bytes, sink)?,
                Stage::Chunks => self.chunk(bytes, sink)?,
                Stage::Length(length) => match bytes.split_at_checked(length) {
                    None => None,
                    Some((body, bytes)) => {
                        self.stage = Stage::Head;
                        sink(Part::Body(body))?;
                        Some(bytes)
                    }
                },
            };
            match whole {
                Some(left) => bytes = left,
                None => break,
            }
        }
        Ok(bytes)
    }

    fn head<'a>(
        &mut self,
        bytes: &'a [u8],
        sink: &mut impl FnMut(Part<'_>) -> Result<()>,
    ) -> Result<Option<&'a [u8]>> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            ensure!(bytes.len() <= HEAD, "a head without an end: {}", bytes.escape_ascii());
            return Ok(None);
        };
        let (whole, bytes) = bytes.split_at(end + 4);
        let head = std::str::from_utf8(whole).context("a head that is no text")?.to_ascii_lowercase();
        let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.with_context(|| format!("a head without a status: {head:?}"))?;
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        self.stage = if field("transfer-encoding") == Some("chunked") {
            Stage::Chunks
        } else if let Some(length) = field("content-length") {
            Stage::Length(length.parse().context("a length that is no number")?)
        } else {
            Stage::Length(0)
        };
        sink(Part::Head { status, bytes: whole })?;
        if let Stage::Length(0) = self.stage {
            self.stage = Stage::Head;
            sink(Part::Body(b""))?;
        }
        Ok(Some(bytes))
    }

    fn chunk<'a>(
        &mut self,
        bytes: &'a [u8],
        sink: &mut impl FnMut(Part<'_>) -> Result<()>,
    ) -> Result<Option<&'a [u8]>> {
        let Some(end) = memchr(b'\n', bytes) else {
            ensure!(bytes.len() <= 16, "a chunk without a size: {}", bytes.escape_ascii());
            return Ok(None);
        };
        let (size, bytes) = bytes.split_at(end + 1);
        let size = hex(size.strip_suffix(b"\r\n").context("a line that ends in LF alone")?)?;
        let Some((chunk, bytes)) = bytes.split_at_checked(size + 2) else { return Ok(None) };
        let payload = chunk.strip_suffix(b"\r\n").context("a chunk that is longer than it says")?;
        if payload.is_empty() {
            self.stage = Stage::Head;
            sink(Part::End)?;
        } else {
            frames(payload, sink)?;
        }
        Ok(Some(bytes))
    }
}

/// The frames of a chunk.
fn frames(mut chunk: &[u8], sink: &mut impl FnMut(Part<'_>) -> Result<()>) -> Result<()> {
    while !chunk.is_empty() {
        // The common frame first: an id, one line of text.
        let (id, rest) = match chunk.strip_prefix(b"id: ") {
            None => (None, chunk),
            Some(rest) => {
                let (line, rest) = line(rest)?;
                (Some(decimal(line)?), rest)
            }
        };
        chunk = match (id, rest.strip_prefix(b"data: ")) {
            (Some(id), Some(rest)) => {
                let (text, rest) = line(rest)?;
                sink(Part::Piece { id, text })?;
                skip(rest)?
            }
            _ => other(id, rest, sink)?,
        };
    }
    Ok(())
}

/// A frame that is no piece of text.
fn other<'a>(
    id: Option<u64>,
    rest: &'a [u8],
    sink: &mut impl FnMut(Part<'_>) -> Result<()>,
) -> Result<&'a [u8]> {
    if let Some(rest) = rest.strip_prefix(b"event: ") {
        let (name, rest) = line(rest)?;
        let (data, rest) = line(rest)?;
        let data = data.strip_prefix(b"data:").context("a named event without data")?;
        sink(Part::Event { id, name, data })?;
        return skip(rest);
    }
    let (first, _) = line(rest)?;
    match id {
        // Text without content: an id alone.
        Some(id) if first.is_empty() => sink(Part::Piece { id, text: b"" })?,
        None if first == b":" || first.starts_with(b"retry: ") => {}
        _ => bail!("an unknown line: {}", first.escape_ascii()),
    }
    skip(rest)
}

/// What follows the rest of this frame.
fn skip(mut rest: &[u8]) -> Result<&[u8]> {
    loop {
        let (line, after) = line(rest)?;
        if line.is_empty() {
            return Ok(after);
        }
        rest = after;
    }
}

fn line(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let end = memchr(b'\n', bytes).context("a frame that is not whole in its chunk")?;
    let (line, rest) = bytes.split_at(end);
    Ok((line, rest.get(1..).unwrap_or_default()))
}

/// The number that begins a text; none where there is none.
pub(crate) fn leading(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

fn decimal(bytes: &[u8]) -> Result<u64> {
    let number = !bytes.is_empty() && bytes.len() < 19 && bytes.iter().all(u8::is_ascii_digit);
    ensure!(number, "no number: {}", bytes.escape_ascii());
    Ok(leading(bytes))
}

fn hex(bytes: &[u8]) -> Result<usize> {
    let text = std::str::from_utf8(bytes).context("a size that is no text")?;
    usize::from_str_radix(text, 16).with_context(|| format!("a size that is no number: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        29\r\nretry: 1000\n\nevent: queued\ndata:{\"a\":1}\n\n\r\n\
        21\r\nid: 1\nevent: started\ndata:{\"b\"}\n\n\r\n\
        3\r\n:\n\n\r\n\
        31\r\nid: 2\ndata:  word\n\nid: 3\ndata: a\ndata: b\n\nid: 4\n\n\r\n\
        0\r\n\r\n\
        HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone\
        HTTP/1.1 204 No Content\r\n\r\n";

    fn read(bytes: &[u8], size: usize) -> Result<Vec<String>> {
        let (mut answer, mut parts) = (Answer::default(), Vec::new());
        for bytes in bytes.chunks(size) {
            answer.feed(bytes, |part| {
                parts.push(match part {
                    Part::Head { status, .. } => format!("{status}"),
                    Part::Piece { id, text } => format!("{id} {}", text.escape_ascii()),
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
    fn answers_do_not_depend_on_how_their_bytes_come() {
        let expected = [
            "200",
            r#"None queued {\"a\":1}"#,
            r#"Some(1) started {\"b\"}"#,
            "2  word",
            "3 a",
            "4 ",
            "end",
            "404",
            "none",
            "204",
            "",
        ];
        for size in [1, 2, 3, 7, 64, 10_000] {
            assert_eq!(read(ANSWERS.as_bytes(), size).unwrap(), expected, "by {size}");
        }
    }

    #[test]
    fn what_the_server_never_writes_is_an_error() {
        for bad in ["id: x\ndata: a\n\n", "id: 1\ndata: cut\n", "nonsense\n\n", "event: a\nnonsense\n\n"] {
            let bytes =
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{bad}\r\n", bad.len());
            assert!(read(bytes.as_bytes(), 10_000).is_err(), "{bad:?}");
        }
        assert!(read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n", 10_000).is_err());
        assert!(read(b"nonsense\r\n\r\n", 10_000).is_err());
    }
}
