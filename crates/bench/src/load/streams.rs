//! The streams of a run and their readers. All readers of a stream must agree.

use std::{
    collections::VecDeque,
    iter,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use tokenwire_core::GenerationId;

use super::{
    connections::{Connections, Happened, NewConnection},
    reader::Progress,
    request,
};

/// How many connections may wait for the head of their answer: as many as a busy server has at once, and fewer than its
/// backlog takes.
const IN_FLIGHT: usize = 256;

/// How long no bytes may come.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: Vec<Stream>,
    /// How many readers have read a stream to its end, and were right.
    pub(super) verified: u64,
}

#[derive(Debug)]
struct Stream {
    id: GenerationId,
    /// What the first reader that came to the end has seen.
    whole: Option<Progress>,
}

impl Streams {
    /// A new stream.
    pub(super) fn begin(&mut self) -> usize {
        self.streams.push(Stream { id: GenerationId::fresh(), whole: None });
        self.streams.len() - 1
    }

    /// The connection that asks for a stream.
    pub(super) fn asker(&self, stream: usize) -> Result<NewConnection> {
        let request = request::ask(self.get(stream)?.id);
        Ok(NewConnection { request, stream, progress: Progress::default(), asks: true, target: 1 })
    }

    /// A connection that reads a stream on.
    pub(super) fn follower(&self, stream: usize, progress: Progress) -> Result<NewConnection> {
        let request = request::follow(self.get(stream)?.id, progress.cursor);
        Ok(NewConnection { request, stream, progress, asks: false, target: progress.cursor + 1 })
    }

    fn get(&self, stream: usize) -> Result<&Stream> {
        match self.streams.get(stream) {
            Some(stream) => Ok(stream),
            None => bail!("there is no stream {stream}"),
        }
    }

    /// Checks a reader at the end of its response: it must have the end of the stream, and the same deltas as all others.
    pub(super) fn verify(&mut self, stream: usize, seen: Progress, pieces: Option<u64>) -> Result<()> {
        ensure!(
            seen.told,
            "stream {stream}: an orderly end after entry {} without a terminal event",
            seen.cursor
        );
        if let Some(pieces) = pieces {
            ensure!(seen.pieces == pieces, "stream {stream}: {} pieces instead of {pieces}", seen.pieces);
        }
        if let Some(stream_of) = self.streams.get_mut(stream) {
            let whole = *stream_of.whole.get_or_insert(seen);
            ensure!(
                (whole.cursor, whole.mark) == (seen.cursor, seen.mark),
                "stream {stream}: two readers have seen different pieces"
            );
        }
        self.verified += 1;
        Ok(())
    }

    /// Starts `streams` streams over `ramp`, with `readers` readers each. Returns when every reader has an entry.
    pub(super) fn gather(
        &mut self,
        connections: &mut Connections,
        streams: usize,
        readers: usize,
        ramp: Duration,
    ) -> Result<()> {
        let began = Instant::now();
        let (mut asked, mut in_flight, mut arrived) = (0, 0, 0);
        let mut joining: VecDeque<usize> = VecDeque::new();
        let mut others_called = vec![false; streams];
        let mut stall = StallTimeout::new(connections);
        while arrived < streams * readers {
            let mut next = Instant::now() + Duration::from_millis(100);
            while asked < streams && in_flight < IN_FLIGHT {
                let due = began + ramp * u32::try_from(asked)? / u32::try_from(streams)?;
                if due > Instant::now() {
                    next = next.min(due);
                    break;
                }
                let stream = self.begin();
                connections.open(self.asker(stream)?)?;
                (asked, in_flight) = (asked + 1, in_flight + 1);
            }
            while in_flight < IN_FLIGHT
                && let Some(stream) = joining.pop_front()
            {
                connections.open(self.follower(stream, Progress::default())?)?;
                in_flight += 1;
            }
            for (place, happened) in connections.turn(next)? {
                match happened {
                    Happened::Answered(200) => {
                        in_flight -= 1;
                        let Some((stream, _)) = connections.seen(place) else { continue };
                        if let Some(called) = others_called.get_mut(stream)
                            && !std::mem::replace(called, true)
                        {
                            joining.extend(iter::repeat_n(stream, readers - 1));
                        }
                    }
                    Happened::Answered(status) => bail!("status {status} instead of a stream"),
                    Happened::Arrived => arrived += 1,
                    Happened::Whole => {
                        bail!("a stream ended before all readers had an entry: make answers longer")
                    }
                    Happened::Broken => bail!("a reader broke before all readers had an entry"),
                }
            }
            stall.check(connections)?;
        }
        Ok(())
    }

    /// Reads on until the first delta.
    pub(super) fn first_piece(&mut self, connections: &mut Connections, pieces: Option<u64>) -> Result<()> {
        let mut stall = StallTimeout::new(connections);
        while connections.tally.counts.pieces == 0 {
            let happened = connections.turn(Instant::now() + Duration::from_secs(1))?;
            self.settle(connections, &happened, pieces)?;
            stall.check(connections)?;
        }
        Ok(())
    }

    /// Reads on for this time, or until a reader ends.
    pub(super) fn listen(
        &mut self,
        connections: &mut Connections,
        time: Duration,
        pieces: Option<u64>,
    ) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let happened = connections.turn(until)?;
            if self.settle(connections, &happened, pieces)? > 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads on until every reader has ended.
    pub(super) fn finish(&mut self, connections: &mut Connections, pieces: Option<u64>) -> Result<()> {
        let mut stall = StallTimeout::new(connections);
        while connections.len() > 0 {
            let happened = connections.turn(Instant::now() + Duration::from_secs(1))?;
            self.settle(connections, &happened, pieces)?;
            stall.check(connections)?;
        }
        Ok(())
    }

    /// Checks and closes the readers that have ended. Returns their number.
    pub(super) fn settle(
        &mut self,
        connections: &mut Connections,
        happened: &[(usize, Happened)],
        pieces: Option<u64>,
    ) -> Result<usize> {
        let mut gone = 0;
        for (place, happened) in happened {
            match happened {
                Happened::Whole => {
                    let Some((stream, progress)) = connections.seen(*place) else { continue };
                    if let Err(wrong) = self.verify(stream, progress, pieces) {
                        connections.tally.error(&format!("{wrong:#}"));
                    }
                    connections.close(*place);
                    gone += 1;
                }
                Happened::Broken => gone += 1,
                Happened::Answered(200) | Happened::Arrived => {}
                Happened::Answered(status) => bail!("status {status} instead of a stream"),
            }
        }
        Ok(gone)
    }
}

/// Fails when no bytes have come for [`STALL_TIMEOUT`].
#[derive(Debug)]
pub(super) struct StallTimeout {
    reads: u64,
    since: Instant,
}

impl StallTimeout {
    pub(super) fn new(connections: &Connections) -> Self {
        Self { reads: connections.tally.counts.reads, since: Instant::now() }
    }

    /// # Errors
    /// Nothing has come for too long.
    pub(super) fn check(&mut self, connections: &Connections) -> Result<()> {
        if connections.tally.counts.reads != self.reads {
            *self = Self::new(connections);
        }
        ensure!(
            self.since.elapsed() < STALL_TIMEOUT,
            "nothing has come for {STALL_TIMEOUT:?}, and {} connections still wait",
            connections.len()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// Answers one request, whatever it is.
    fn answer(connection: &mut TcpStream, frames: &str) {
        let mut request = [0; 4096];
        assert!(connection.read(&mut request).unwrap() > 0);
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        write!(connection, "{head}{:x}\r\n{frames}\r\n0\r\n\r\n", frames.len()).unwrap();
    }

    /// What is found wrong when two readers of one stream get these frames.
    fn errors(first: &str, second: &str) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connections = Connections::new(listener.local_addr().unwrap()).unwrap();
        let answers = [first.to_owned(), second.to_owned()];
        let server = std::thread::spawn(move || {
            answers.map(|frames| {
                let (mut connection, _) = listener.accept().unwrap();
                answer(&mut connection, &frames);
                connection
            })
        });
        let mut streams = Streams::default();
        let stream = streams.begin();
        connections.open(streams.asker(stream).unwrap()).unwrap();
        connections.open(streams.follower(stream, Progress::default()).unwrap()).unwrap();
        streams.finish(&mut connections, Some(1)).unwrap();
        server.join().unwrap();
        connections.tally.errors().told
    }

    fn frames(stamp: u64) -> String {
        format!("id: 1\ndata: {stamp} a\n\nid: 2\nevent: done\ndata:{{\"output_tokens\":1}}\n\n")
    }

    #[test]
    fn readers_that_saw_the_same_are_right() {
        assert_eq!(errors(&frames(7), &frames(7)), Vec::<String>::new());
    }

    #[test]
    fn a_reader_that_saw_another_piece_is_an_error() {
        let errors = errors(&frames(7), &frames(8));
        assert_eq!(errors, ["stream 0: two readers have seen different pieces"]);
    }

    #[test]
    fn a_piece_too_few_a_gap_and_a_missing_end_are_errors() {
        let lost = "id: 1\nevent: done\ndata:{\"output_tokens\":1}\n\n";
        assert_eq!(errors(&frames(7), lost).len(), 1);
        assert_eq!(errors(&frames(7), "id: 2\ndata: 7 a\n\n").len(), 1);
        assert_eq!(errors(&frames(7), "id: 1\ndata: 7 a\n\n").len(), 1);
    }
}
