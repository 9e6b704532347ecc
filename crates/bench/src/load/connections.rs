//! Many connections in one thread: opens them, sends requests, and reads responses.
//!
//! The load tool shares the machine with the server, so it must be cheap: one system call to learn which connections are
//! ready, one for each of them to read, no copy of whole frames, no task, no lock. The report shows its CPU time.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use testkit::client::{Parser, Part};

use super::{
    reader::{Meant, Progress},
    tally::Tally,
};
use crate::clock::micros;

/// The most bytes of one read.
const BUFFER: usize = 1 << 20;

/// How many ready connections a turn handles at most.
const TURN: usize = 512;

/// All connections, open or not.
#[derive(Debug)]
pub(crate) struct Connections {
    address: SocketAddr,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    slots: Vec<Option<Connection>>,
    /// Places of connections that were closed.
    free: Vec<usize>,
    happened: Vec<(usize, Happened)>,
    pub(crate) tally: Tally,
}

/// What happened on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// The head of an answer came, with this status.
    Answered(u16),
    /// The reader has reached its target ([`NewConnection::target`]).
    Arrived,
    /// The response is complete.
    Whole,
    /// It broke. It is counted as an error, and closed.
    Broken,
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    /// The request, until it is sent.
    request: Vec<u8>,
    asked_at: u64,
    /// Zero after [`Happened::Arrived`].
    target: u64,
    parser: Parser,
    /// Which stream it reads.
    stream: usize,
    progress: Progress,
    /// Whether its first delta counts as the time to the first token.
    asks: bool,
}

/// A connection to open.
#[derive(Debug)]
pub(crate) struct NewConnection {
    pub(crate) request: Vec<u8>,
    /// Which stream it reads.
    pub(crate) stream: usize,
    /// What its reader has seen on earlier connections.
    pub(crate) progress: Progress,
    /// Whether it begins the stream.
    pub(crate) asks: bool,
    /// The entry at which [`Happened::Arrived`] is reported.
    pub(crate) target: u64,
}

impl Connections {
    pub(crate) fn new(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            address,
            poll: Poll::new().context("an epoll instance")?,
            events: Events::with_capacity(TURN),
            buffer: vec![0; BUFFER],
            slots: Vec::new(),
            free: Vec::new(),
            happened: Vec::new(),
            tally: Tally::new()?,
        })
    }

    /// Starts to connect. The request is sent when the connection is established.
    pub(crate) fn open(&mut self, new_connection: NewConnection) -> Result<usize> {
        let NewConnection { request, stream, progress, asks, target } = new_connection;
        let mut socket = TcpStream::connect(self.address).context("a socket")?;
        let place = self.free.pop().unwrap_or(self.slots.len());
        self.poll.registry().register(&mut socket, Token(place), Interest::READABLE | Interest::WRITABLE)?;
        let connection = Connection {
            socket,
            request,
            asked_at: micros(),
            target,
            parser: Parser::default(),
            stream,
            progress,
            asks,
        };
        match self.slots.get_mut(place) {
            Some(free) => *free = Some(connection),
            None => self.slots.push(Some(connection)),
        }
        Ok(place)
    }

    /// Closes a connection. Returns what its reader has seen, or `None` if there is no connection at this place.
    pub(crate) fn close(&mut self, place: usize) -> Option<Progress> {
        let connection = self.slots.get_mut(place)?.take()?;
        self.free.push(place);
        Some(connection.progress)
    }

    /// Sends another request on the same connection.
    pub(crate) fn ask_again(&mut self, place: usize, request: Vec<u8>) -> Result<()> {
        let connection = self.slots.get_mut(place).and_then(Option::as_mut).context("no such connection")?;
        connection.asked_at = micros();
        connection.request = request;
        connection.send().context("asking again")
    }

    /// What the reader at this place has seen, and of which stream.
    pub(crate) fn seen(&self, place: usize) -> Option<(usize, Progress)> {
        let connection = self.slots.get(place)?.as_ref()?;
        Some((connection.stream, connection.progress))
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Reads all ready connections, or waits for one until then. Returns what happened. Deltas are only counted.
    pub(crate) fn turn(&mut self, until: Instant) -> Result<Vec<(usize, Happened)>> {
        let wait = until.saturating_duration_since(Instant::now()).min(Duration::from_secs(1));
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            polled => polled.context("polling")?,
        }
        for event in &self.events {
            let Token(place) = event.token();
            let Some(connection) = self.slots.get_mut(place).and_then(Option::as_mut) else { continue };
            let served = connection.serve(&mut self.buffer, &mut self.tally, |happened| {
                self.happened.push((place, happened));
            });
            if let Err(error) = served {
                let (stream, cursor) = (connection.stream, connection.progress.cursor);
                self.tally.error(&format!("a reader of stream {stream} after entry {cursor}: {error:#}"));
                self.happened.push((place, Happened::Broken));
                self.slots.get_mut(place).and_then(Option::take);
                self.free.push(place);
            }
        }
        Ok(std::mem::take(&mut self.happened))
    }
}

impl Connection {
    fn serve(
        &mut self,
        buffer: &mut [u8],
        tally: &mut Tally,
        mut happened: impl FnMut(Happened),
    ) -> Result<()> {
        if !self.request.is_empty() {
            self.send().context("connecting")?;
        }
        loop {
            let read = match self.socket.read(buffer) {
                Ok(0) => return Err(anyhow!("the connection was cut")),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading"),
            };
            let now = micros();
            tally.read(read);
            let Self { parser, progress, target, asks, asked_at, .. } = self;
            parser.feed(buffer.get(..read).unwrap_or_default(), |part| {
                match progress.take(&part)? {
                    Meant::Delta { made_at } => {
                        if std::mem::take(asks) {
                            tally.first_token(now.saturating_sub(*asked_at));
                        }
                        // A delta that is older than the request is backlog: its age does not measure the server.
                        tally.piece((made_at >= *asked_at).then(|| now.saturating_sub(made_at)));
                    }
                    Meant::Entry => tally.entry(),
                    Meant::Nothing => match part {
                        Part::Head { status, bytes } => {
                            tally.head(bytes);
                            happened(Happened::Answered(status));
                        }
                        Part::Body(body) => {
                            tally.whole(now.saturating_sub(*asked_at), body);
                            happened(Happened::Whole);
                        }
                        Part::End => happened(Happened::Whole),
                        Part::Delta { .. } | Part::Event { .. } => {}
                    },
                }
                if *target > 0 && progress.cursor >= *target {
                    *target = 0;
                    happened(Happened::Arrived);
                }
                anyhow::Ok(())
            })?;
            // A read that did not fill the buffer has taken everything; the next bytes are a new event.
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Requests are small: the socket takes one whole, or is not connected yet.
    fn send(&mut self) -> io::Result<()> {
        match self.socket.write(&self.request) {
            Ok(written) if written == self.request.len() => {
                self.request = Vec::new();
                Ok(())
            }
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(error) => Err(error),
        }
    }
}
