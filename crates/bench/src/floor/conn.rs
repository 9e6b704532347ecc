//! A connection of the floor.

use std::io::{self, Read, Write};

use memchr::memmem;
use mio::net::TcpStream;
use testkit::client::leading_number;

/// A stream: all that was sent, and its readers.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) bytes: Vec<u8>,
    /// Where each event ends.
    pub(super) ends: Vec<usize>,
    pub(super) conns: Vec<usize>,
}

pub(super) struct Conn {
    socket: TcpStream,
    heard: Vec<u8>,
    /// The stream that it reads.
    pub(super) stream: Option<usize>,
    /// How many bytes of that it has.
    sent: usize,
    /// How many events.
    events: usize,
}

/// What the client asks for.
pub(super) enum Asked {
    Nothing,
    Gone,
    Canned,
    Stream { id: String, after: usize, begins: bool },
}

impl Conn {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, heard: Vec::new(), stream: None, sent: 0, events: 0 }
    }

    /// The next request, if it is there.
    pub(super) fn hear(&mut self) -> Asked {
        let mut bytes = [0; 2048];
        loop {
            if let Some(asked) = self.asked() {
                return asked;
            }
            match self.socket.read(&mut bytes) {
                Ok(0) => return Asked::Gone,
                Ok(read) => self.heard.extend(bytes.iter().take(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Asked::Nothing,
                Err(_) => return Asked::Gone,
            }
        }
    }

    fn asked(&mut self) -> Option<Asked> {
        let end = memmem::find(&self.heard, b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(self.heard.get(..end)?).into_owned();
        let number = |name: &str| {
            let field = head.lines().find_map(|line| line.strip_prefix(name));
            field.map_or(0, |value| usize::try_from(leading_number(value.as_bytes())).unwrap_or_default())
        };
        let whole = end + number("Content-Length: ");
        if self.heard.len() < whole {
            return None;
        }
        let body = String::from_utf8_lossy(self.heard.get(end..whole)?).into_owned();
        self.heard.drain(..whole);
        let after = number("Last-Event-ID: ");
        let path = head.split(' ').nth(1)?;
        Some(match path.strip_prefix("/ask") {
            None => Asked::Canned,
            Some("") => {
                let body: serde_json::Value = serde_json::from_str(&body).ok()?;
                let id = body.get("uuid")?.as_str()?.to_owned();
                Asked::Stream { id, after, begins: true }
            }
            Some(id) => Asked::Stream { id: id.trim_start_matches('/').to_owned(), after, begins: false },
        })
    }

    /// For answers that always fit.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        // A closed connection is noticed at the next read.
        let _ = self.socket.write(bytes);
    }

    /// Begins to read a stream after so many events.
    pub(super) fn begin(&mut self, number: usize, stream: &Stream, after: usize, head: &[u8]) {
        self.stream = Some(number);
        self.events = after.min(stream.ends.len());
        self.sent =
            self.events.checked_sub(1).and_then(|last| stream.ends.get(last)).copied().unwrap_or_default();
        self.say(head);
        self.catch_up(stream);
    }

    pub(super) fn has_all(&self, stream: &Stream) -> bool {
        self.events == stream.ends.len()
    }

    /// Sends what it lacks, one write for each event, until the socket is full.
    pub(super) fn catch_up(&mut self, stream: &Stream) {
        while let Some(end) = stream.ends.get(self.events) {
            let Some(bytes) = stream.bytes.get(self.sent..*end) else { return };
            match self.socket.write(bytes) {
                Ok(written) => self.sent += written,
                // Full or closed: the poll reports both.
                Err(_) => return,
            }
            if self.sent == *end {
                self.events += 1;
            }
        }
    }
}
