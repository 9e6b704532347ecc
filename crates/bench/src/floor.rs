//! The floor: the lowest cost of the same bytes to the same sockets on this machine.
//!
//! One thread, one epoll instance, and one `write()` for each event and reader. No durability, no queue, no framework. It
//! implements enough HTTP for the load process, and sends the words of the simulated model. A server that sends each event
//! in its own write cannot cost less; a server that sends several events in one write can.
//!
//! It runs in a process of its own, prints its port, and ends with its standard input.

mod conn;
mod script;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use mio::{Events, Interest, Poll, Token, net::TcpListener};
use serde::{Deserialize, Serialize};

use self::{
    conn::{Asked, Conn, Stream},
    script::Script,
};
use crate::load::raise_open_file_limit;

/// What the floor sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FloorConfig {
    /// Before the first piece.
    pub(crate) first_delay: Duration,
    /// Between two pieces; zero is as fast as it goes.
    pub(crate) delay: Duration,
    pub(crate) pieces: usize,
    /// The answer, head and body, to anything but a question for a stream.
    pub(crate) canned: String,
}

/// How many events a stream without a pace sends before the other streams and new readers are served.
const RUN: usize = 16;

const LISTENER: Token = Token(usize::MAX);
const PARENT: Token = Token(usize::MAX - 1);

/// The floor's process. The first line of its input is a [`FloorConfig`].
pub(crate) fn run() -> Result<()> {
    let mut config = String::new();
    io::stdin().read_line(&mut config).context("reading the configuration")?;
    let config: FloorConfig = serde_json::from_str(&config).context("the configuration")?;
    raise_open_file_limit()?;
    let mut floor = Floor::new(&config)?;
    let port = floor.listener.local_addr()?.port();
    writeln!(io::stdout(), "{port}")?;
    while floor.turn()? {}
    Ok(())
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    script: Script,
    canned: Vec<u8>,
    first_delay: Duration,
    delay: Duration,
    conns: Vec<Option<Conn>>,
    streams: Vec<Stream>,
    known: HashMap<String, usize>,
    /// Of streams with a pace: when each sends its next event.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Streams without one.
    unpaced: Vec<usize>,
}

impl Floor {
    fn new(config: &FloorConfig) -> Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        poll.registry().register(&mut mio::unix::SourceFd(&0), PARENT, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            script: Script::new(config.pieces)?,
            canned: config.canned.clone().into_bytes(),
            first_delay: config.first_delay,
            delay: config.delay,
            conns: Vec::new(),
            streams: Vec::new(),
            known: HashMap::new(),
            due: BinaryHeap::new(),
            unpaced: Vec::new(),
        })
    }

    /// Handles the next events. False when the parent has ended.
    fn turn(&mut self) -> Result<bool> {
        let wait = match self.due.peek() {
            _ if self.unpaced.iter().any(|stream| self.is_free(*stream)) => Some(Duration::ZERO),
            Some(Reverse((due, _))) => Some(due.saturating_duration_since(Instant::now())),
            None => None,
        };
        let mut events = Events::with_capacity(1024);
        match self.poll.poll(&mut events, wait) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            polled => polled?,
        }
        for event in &events {
            match event.token() {
                LISTENER => self.accept()?,
                PARENT => {
                    if io::stdin().read(&mut [0])? == 0 {
                        return Ok(false);
                    }
                }
                Token(place) => self.serve(place, event.is_writable()),
            }
        }
        let now = Instant::now();
        while let Some(Reverse((due, stream))) = self.due.peek().copied()
            && due <= now
        {
            self.due.pop();
            if !self.say(stream) {
                continue;
            }
            if self.delay.is_zero() {
                self.unpaced.push(stream);
            } else {
                self.due.push(Reverse((due + self.delay + self.phase(stream), stream)));
            }
        }
        let mut unpaced = std::mem::take(&mut self.unpaced);
        unpaced.retain(|stream| (0..RUN).all(|_| !self.is_free(*stream) || self.say(*stream)));
        unpaced.append(&mut self.unpaced);
        self.unpaced = unpaced;
        Ok(true)
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let (mut socket, _) = match self.listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                accepted => accepted.context("accepting")?,
            };
            socket.set_nodelay(true)?;
            let place = self.conns.len();
            self.poll.registry().register(
                &mut socket,
                Token(place),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            self.conns.push(Some(Conn::new(socket)));
        }
    }

    fn serve(&mut self, place: usize, writable: bool) {
        let Some(conn) = self.conns.get_mut(place).and_then(Option::as_mut) else { return };
        if writable && let Some(stream) = conn.stream.and_then(|stream| self.streams.get(stream)) {
            conn.catch_up(stream);
        }
        loop {
            let Some(conn) = self.conns.get_mut(place).and_then(Option::as_mut) else { return };
            match conn.hear() {
                Asked::Nothing => return,
                Asked::Gone => return self.hang_up(place),
                Asked::Canned => conn.say(&self.canned),
                Asked::Stream { id, after, begins } => self.join(place, id, after, begins),
            }
        }
    }

    fn hang_up(&mut self, place: usize) {
        let conn = self.conns.get_mut(place).and_then(Option::take);
        if let Some(stream) =
            conn.and_then(|conn| conn.stream).and_then(|stream| self.streams.get_mut(stream))
        {
            stream.conns.retain(|conn| *conn != place);
        }
    }

    fn join(&mut self, place: usize, id: String, after: usize, begins: bool) {
        let Some(conn) = self.conns.get_mut(place).and_then(Option::as_mut) else { return };
        let known = self.known.get(&id).copied();
        let head = Script::head(&id, after);
        let stream = known.unwrap_or_else(|| {
            self.streams.push(Stream::default());
            self.known.insert(id, self.streams.len() - 1);
            self.streams.len() - 1
        });
        let Some(joined) = self.streams.get_mut(stream) else { return };
        joined.conns.push(place);
        conn.begin(stream, joined, after, &head);
        if begins && known.is_none() {
            self.say(stream);
            self.due.push(Reverse((Instant::now() + self.first_delay, stream)));
        }
    }

    /// How much longer the pause after the first delta is, so that streams are out of step like those of the simulated model.
    fn phase(&self, stream: usize) -> Duration {
        if self.streams.get(stream).is_none_or(|stream| stream.ends.len() != 2) {
            return Duration::ZERO;
        }
        self.delay * u32::try_from(stream * 7919 % 1000).unwrap_or_default() / 1000
    }

    /// Whether every reader has every event.
    fn is_free(&self, stream: usize) -> bool {
        self.streams.get(stream).is_some_and(|stream| {
            let conn = |place: &usize| self.conns.get(*place).and_then(Option::as_ref);
            stream.conns.iter().filter_map(conn).all(|conn| conn.has_all(stream))
        })
    }

    /// Sends the next event to all readers. Returns whether there is another.
    fn say(&mut self, stream: usize) -> bool {
        let Some(stream) = self.streams.get_mut(stream) else { return false };
        let more = self.script.event(stream.ends.len(), &mut stream.bytes);
        stream.ends.push(stream.bytes.len());
        for place in &stream.conns {
            if let Some(conn) = self.conns.get_mut(*place).and_then(Option::as_mut) {
                conn.catch_up(stream);
            }
        }
        more
    }
}
