//! Readers of a story while it is written, and what each of them must get.

use axum::http::StatusCode;
use tokio::{sync::watch, task::JoinSet};

use super::scene::{Exchange, Front, Opened};

/// What each front end writes for a story to a reader without a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) ask: Exchange,
    pub(crate) chunks: Exchange,
    /// Only for a story that ends.
    pub(crate) completion: Option<Exchange>,
    pub(crate) events: Exchange,
    pub(crate) resource: Exchange,
    pub(crate) texts: Exchange,
    /// Only for a story that ends.
    pub(crate) text_completion: Option<Exchange>,
}

impl Told {
    /// How many entries the story has.
    pub(crate) fn entries(&self) -> usize {
        frames(&self.ask.body).filter(|frame| frame.starts_with("id: ")).count()
    }

    /// How many events a response has.
    pub(crate) fn numbered(&self) -> usize {
        frames(&self.events.body).filter(|frame| frame.starts_with("event: ")).count()
    }

    /// What is left for a reader of `/ask` who has seen so many entries.
    pub(crate) fn rest_of_ask(&self, seen: Option<usize>) -> String {
        let Some(seen @ 1..) = seen else { return self.ask.body.clone() };
        let mut frames = frames(&self.ask.body);
        let retry = frames.next().unwrap();
        let last = format!("id: {seen}\n");
        let rest = frames.skip_while(|frame| !frame.starts_with(&last)).skip(1);
        [retry].into_iter().chain(rest).collect()
    }

    /// What is left for a reader of a response who has seen the events up to this number.
    pub(crate) fn rest_of_events(&self, after: Option<usize>) -> String {
        let seen = after.map_or(0, |after| after + 1).min(self.numbered());
        frames(&self.events.body).skip(seen).collect()
    }
}

fn frames(stream: &str) -> impl Iterator<Item = &str> {
    stream.split_inclusive("\n\n")
}

/// All current readers.
pub(crate) struct Readers {
    reading: JoinSet<Read>,
    /// What they listen for.
    words: &'static str,
    /// The number of the event that says it.
    number: usize,
    /// How many have heard it.
    heard: watch::Sender<usize>,
}

/// What a reader wanted, when it came, and what it got.
struct Read {
    wanted: Wanted,
    came_after: usize,
    got: Exchange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Ask(Option<usize>),
    Events(Option<usize>),
    Chunks,
    Completion,
    Texts,
    TextCompletion,
}

impl Default for Readers {
    fn default() -> Self {
        Self::listening_for("", usize::MAX)
    }
}

impl Readers {
    /// Readers who have not seen these words yet, nor the event of this number, which says them.
    pub(crate) fn listening_for(words: &'static str, number: usize) -> Self {
        Self { reading: JoinSet::new(), words, number, heard: watch::Sender::new(0) }
    }

    /// Readers come to a story of which so much is written: of entries, with every cursor that one can have by now; of
    /// events, with every third one; and of chunks, which have none.
    pub(crate) async fn come(&mut self, front: &Front, written: usize) {
        for seen in [None].into_iter().chain((1..=written).map(Some)) {
            self.read(Wanted::Ask(seen), written, front.ask(seen).await);
        }
        // A delta becomes at most three events; a few more come without any.
        let numbers = (0..(3 * written + 8).min(self.number)).filter(|number| number % 3 == written % 3);
        for after in [None].into_iter().chain(numbers.map(Some)) {
            self.read(Wanted::Events(after), written, front.events(after).await);
        }
        // A call that is repeated before a worker has begun waits.
        if written > 0 {
            self.read(Wanted::Chunks, written, front.chunks().await);
            self.read(Wanted::Texts, written, front.texts().await);
        }
    }

    /// A reader waits for the whole answer.
    pub(crate) fn wait(&mut self, front: &Front, came_after: usize) {
        let (front, front_of_texts) = (front.clone(), front.clone());
        self.reading.spawn(async move {
            Read { wanted: Wanted::Completion, came_after, got: front.completion().await.read().await }
        });
        let front = front_of_texts;
        self.reading.spawn(async move {
            Read {
                wanted: Wanted::TextCompletion,
                came_after,
                got: front.text_completion().await.read().await,
            }
        });
    }

    /// A reader reads what was opened.
    pub(crate) fn read(&mut self, wanted: Wanted, came_after: usize, opened: Opened) {
        let (words, heard) = (self.words, self.heard.clone());
        self.reading.spawn(async move {
            let got = opened.read_past(words, || heard.send_modify(|heard| *heard += 1)).await;
            Read { wanted, came_after, got }
        });
    }

    /// Waits until all readers have got the words.
    pub(crate) async fn all_have_heard(&self) {
        let all = self.reading.len();
        self.heard.subscribe().wait_for(|heard| *heard == all).await.unwrap();
    }

    /// Waits until all have come to an end.
    pub(crate) async fn leave(self) -> Satisfied {
        Satisfied(self.reading.join_all().await)
    }
}

/// Readers who have come to an end.
pub(crate) struct Satisfied(Vec<Read>);

impl Satisfied {
    /// What a reader got that came before the first entry.
    pub(crate) fn first(&self, wanted: Wanted) -> Exchange {
        let first = self.0.iter().find(|read| read.wanted == wanted && read.came_after == 0);
        first.expect("a reader wanted it").got.clone()
    }

    /// Checks that each reader got exactly the rest of the same answer.
    pub(crate) fn check(self, told: &Told) {
        for Read { wanted, came_after, got } in self.0 {
            let expected = match wanted {
                Wanted::Ask(seen) => told.rest_of_ask(seen),
                Wanted::Events(after) => told.rest_of_events(after),
                Wanted::Chunks => told.chunks.body.clone(),
                Wanted::Completion => told.completion.as_ref().unwrap().body.clone(),
                Wanted::Texts => told.texts.body.clone(),
                Wanted::TextCompletion => told.text_completion.as_ref().unwrap().body.clone(),
            };
            let whole = matches!(wanted, Wanted::Completion | Wanted::TextCompletion);
            assert!(whole || got.status == StatusCode::OK, "{got:?}");
            assert_eq!(got.body, expected, "{wanted:?}, who came when there were {came_after} entries");
        }
    }
}
