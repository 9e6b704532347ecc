//! A reader that resumes by itself, cuts itself at random bytes, and records what it sees.
//!
//! It checks statuses and the ends of bodies. Its entries are compared with the log's afterwards, in [`crate::judged`].

use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use testkit::client::{self, End, Frame, Request, Response};
use tokio::time::{Instant, sleep};

use crate::{generation::Generation, world::World};

const TERMINAL: [&str; 5] = ["done", "error", "timeout", "expired", "cancelled"];

/// After so many cuts a reader is not cut any more, so that it comes to an end.
const CUTS: u32 = 6;

/// About the length of an answer, in bytes on the wire: cuts fall everywhere, the head of the response included.
const ANSWER: usize = 9000;

/// More than the head of a response, in bytes.
const HEAD: usize = 1024;

/// What one reader saw.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) joined_after: u64,
    /// Frames with an id, in the order in which they came.
    pub(crate) seen: Vec<Frame>,
    pub(crate) connections: usize,
    pub(crate) longest_stall: Duration,
    pub(crate) longest_calm_stall: Duration,
    pub(crate) ending: Ending,
    /// What happened to it, for the report.
    pub(crate) trail: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It saw a terminal event.
    Told,
    /// It went away, as it was meant to.
    Left,
    /// It met something that must not be, and gave up.
    Stopped,
    /// It still waits.
    Hung,
}

/// How a reader comes to a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opening {
    Post,
    Get { after: u64 },
}

pub(crate) struct Reader {
    world: Arc<World>,
    generation: Arc<Generation>,
    rng: StdRng,
    knows_accepted: bool,
    cursor: u64,
    cuts_left: u32,
    /// Goes away for good after so many bytes.
    leaves_after: Option<usize>,
    heard_at: Option<Instant>,
    record: Record,
}

/// What to do after a connection.
enum Next {
    Again { within: Duration },
    Over(Ending),
}

impl Reader {
    pub(crate) fn new(
        world: &Arc<World>,
        generation: &Arc<Generation>,
        name: impl Into<String>,
        opening: Opening,
        seed: u64,
    ) -> Self {
        let (knows_accepted, cursor) = match opening {
            Opening::Post => (false, 0),
            Opening::Get { after } => (true, after),
        };
        let record = Record {
            name: name.into(),
            joined_after: cursor,
            seen: Vec::new(),
            connections: 0,
            longest_stall: Duration::ZERO,
            longest_calm_stall: Duration::ZERO,
            ending: Ending::Hung,
            trail: Vec::new(),
        };
        Self {
            world: Arc::clone(world),
            generation: Arc::clone(generation),
            rng: StdRng::seed_from_u64(seed),
            knows_accepted,
            cursor,
            cuts_left: CUTS,
            leaves_after: None,
            heard_at: None,
            record,
        }
    }

    /// Does not cut itself.
    pub(crate) fn undisturbed(mut self) -> Self {
        self.cuts_left = 0;
        self
    }

    pub(crate) fn leaving_after(mut self, bytes: Option<usize>) -> Self {
        self.leaves_after = bytes;
        self
    }

    /// Reads until it is told the end, or until the run is over.
    pub(crate) async fn read(mut self) -> Record {
        let world = Arc::clone(&self.world);
        let ending = world.give_up.run_until_cancelled(async {
            loop {
                match self.connection().await {
                    Next::Again { within } => {
                        sleep(self.rng.random_range(Duration::ZERO..=within)).await;
                    }
                    Next::Over(ending) => return ending,
                }
            }
        });
        let ending = ending.await.unwrap_or(Ending::Hung);
        self.record.ending = ending;
        self.record
    }

    async fn connection(&mut self) -> Next {
        let (server, budget) = (self.world.replica(&mut self.rng), self.budget());
        let path = format!("/ask/{}", self.generation.id);
        // Attaching by the prompt is as good as by the address, for who knows the prompt.
        let request = if !self.knows_accepted || self.rng.random_bool(0.15) {
            Request::post("/ask", &self.generation.body)
        } else {
            Request::get(&path)
        };
        self.record.connections += 1;
        let mut response = match client::send(server, &request.after(self.cursor), budget).await {
            Ok(response) => response,
            Err(End::Malformed(what)) => return self.stop(&what),
            Err(end) => {
                self.note(&format!("no answer at {server}: {end:?}"));
                self.cuts_left = self.cuts_left.saturating_sub((end == End::Budget).into());
                return Next::Again { within: Duration::from_millis(200) };
            }
        };
        match response.status {
            200 => {
                self.knows_accepted = true;
                self.generation.accept();
                self.note(&format!("200 at {server} after {}", self.cursor));
                self.body(&mut response).await
            }
            503 => {
                let text = response.text().await;
                self.note(&format!("503 at {server}: {text}"));
                self.world.refused(&text);
                Next::Again { within: Duration::from_millis(400) }
            }
            404 if !self.generation.is_accepted() => Next::Again { within: Duration::from_millis(200) },
            status => {
                let text = response.text().await;
                self.stop(&format!("status {status} at {server} after entry {}: {text}", self.cursor))
            }
        }
    }

    async fn body(&mut self, response: &mut Response) -> Next {
        let mut told = false;
        let end = loop {
            let frame = match response.next().await {
                Ok(frame) => frame,
                Err(end) => break end,
            };
            if told {
                return self.stop(&format!("{frame:?} after the terminal event"));
            }
            told = TERMINAL.contains(&frame.event.as_str());
            self.saw(frame);
        };
        self.note(&format!("{end:?} after {}", self.cursor));
        match end {
            _ if told => Next::Over(Ending::Told),
            End::Malformed(what) => self.stop(&what),
            End::Whole => self.stop("an orderly end without a terminal event"),
            End::Budget if self.leaves_after.is_some() => Next::Over(Ending::Left),
            End::Budget | End::Cut(_) | End::Silence => {
                self.cuts_left = self.cuts_left.saturating_sub((end == End::Budget).into());
                Next::Again { within: Duration::from_millis(100) }
            }
        }
    }

    fn saw(&mut self, frame: Frame) {
        let Some(id) = frame.id else {
            let is_news = frame.event == "waiting_for_model" || (self.cursor == 0 && frame.event == "queued");
            if !is_news {
                self.world.violation(format!(
                    "generation {}: reader {}: {frame:?} without an id after {}",
                    self.generation.id, self.record.name, self.cursor
                ));
            }
            return;
        };
        let now = Instant::now();
        if let Some(heard_at) = self.heard_at.replace(now)
            && now - heard_at > self.record.longest_calm_stall
        {
            let record = &mut self.record;
            record.longest_stall = record.longest_stall.max(now - heard_at);
            record.longest_calm_stall =
                record.longest_calm_stall.max(self.world.fault_log.calm(heard_at, now));
        }
        self.cursor = id;
        self.generation.saw(id, &frame);
        self.record.seen.push(frame);
    }

    fn budget(&mut self) -> Option<usize> {
        if let Some(bytes) = self.leaves_after {
            return Some(HEAD + bytes);
        }
        let cuts = self.cuts_left > 0 && self.rng.random_bool(0.6);
        cuts.then(|| self.rng.random_range(0..ANSWER))
    }

    fn stop(&mut self, what: &str) -> Next {
        self.note(what);
        self.world
            .violation(format!("generation {}: reader {}: {what}", self.generation.id, self.record.name));
        Next::Over(Ending::Stopped)
    }

    fn note(&mut self, what: &str) {
        self.record.trail.push(format!("{} {what}", self.world.fault_log.clock()));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    use super::*;
    use crate::plan::{Asker, Asks, Prompt};

    const STARTED: &str = "id: 1\nevent: started\ndata:{}\n\n";
    const WORD: &str = "id: 2\ndata: word\n\n";
    const DONE: &str = "id: 3\nevent: done\ndata:{}\n\n";

    fn whole(body: &str) -> String {
        format!("{}0\r\n\r\n", cut(body))
    }

    fn cut(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len())
    }

    /// What a reader makes of a server that gives these answers, one to a connection.
    async fn read(answers: &[String]) -> (Record, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let world = Arc::new(World::new(vec![listener.local_addr().unwrap().port()]));
        let prompt = Prompt {
            at: Duration::ZERO,
            query: "a question".into(),
            asks: Asks::Simulated,
            repeats: 0,
            asker: Asker::Stays,
            others: Vec::new(),
            seed: 0,
        };
        let generation = Arc::new(Generation::new(prompt));
        let server = async {
            for answer in answers {
                let (mut client, _) = listener.accept().await.unwrap();
                let _ = client.read(&mut [0; 4096]).await;
                let _ = client.write_all(answer.as_bytes()).await;
            }
            std::future::pending::<()>().await;
        };
        let reader = Reader::new(&world, &generation, "A", Opening::Post, 0).undisturbed();
        let record = tokio::select! {
            record = timeout(Duration::from_secs(60), reader.read()) => record.expect("it comes to an end"),
            () = server => unreachable!("it waits for ever"),
        };
        (record, world.violations().join("\n"))
    }

    #[tokio::test]
    async fn a_reader_resumes_until_it_is_told_the_end() {
        let (record, violations) = read(&[
            "HTTP/1.1 503 Service Unavailable\r\n\r\n".into(),
            cut("event: queued\ndata:{}\n\n"),
            cut(&format!("{STARTED}{WORD}")),
            whole(DONE),
        ])
        .await;
        assert_eq!((record.ending, violations.as_str()), (Ending::Told, ""));
        assert_eq!(record.seen.iter().filter_map(|frame| frame.id).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(record.connections, 4);
    }

    #[tokio::test]
    async fn every_broken_promise_of_a_server_is_a_violation() {
        let not_found = || "HTTP/1.1 404 Not Found\r\n\r\n".to_owned();
        for (answers, violation) in [
            (vec![whole(&format!("{STARTED}{WORD}"))], "an orderly end without a terminal event"),
            (vec![whole(&format!("{STARTED}{WORD}{DONE}{WORD}"))], "after the terminal event"),
            (vec![cut(STARTED), not_found()], "status 404"),
            (vec![cut("event: queued\ndata:{}\n\n"), not_found()], "status 404"),
            (vec!["HTTP/1.1 204 No Content\r\n\r\n".into()], "status 204"),
            (vec!["HTTP/1.1 500 Internal Server Error\r\n\r\n".into()], "status 500"),
            (vec![cut("nonsense\n\n")], "an unknown line"),
            (vec!["nonsense\r\n\r\n".into()], "a head without a status"),
        ] {
            let (record, violations) = read(&answers).await;
            assert_eq!(record.ending, Ending::Stopped, "{answers:?}");
            assert!(violations.contains(violation), "{violations} is not about {violation:?}");
        }
    }
}
