//! A reader who resumes by itself, and checks the promise while it reads: every entry, once, in order.

use std::{ops::ControlFlow, time::Duration};

use serde_json::{Value, json};
use testkit::client::{self, Request};
use tokenwire_core::GenerationId;
use tokio::time::{sleep, timeout};

use super::app::App;

/// Longer than any answer of these tests takes, outages included.
const PATIENCE: Duration = Duration::from_secs(90);

/// What one reader has seen of one generation.
pub(crate) struct Reader {
    pub(crate) id: GenerationId,
    pub(crate) text: String,
    pub(crate) pieces: usize,
    /// Names and data of the frames that are not text.
    pub(crate) events: Vec<(String, Value)>,
    /// How often a connection was opened after the first.
    pub(crate) resumed: usize,
    body: Value,
    accepted: bool,
    cursor: u64,
}

impl Reader {
    pub(crate) fn new(query: &str) -> Self {
        Self::sending(json!({ "query": query }))
    }

    /// Will ask with this body, under an id of its own.
    pub(crate) fn sending(mut body: Value) -> Self {
        let id = GenerationId::fresh();
        body.as_object_mut().unwrap().insert("uuid".to_owned(), json!(id.to_string()));
        Self {
            id,
            text: String::new(),
            pieces: 0,
            events: Vec::new(),
            resumed: 0,
            body,
            accepted: false,
            cursor: 0,
        }
    }

    /// Asks, and reads until there are this many pieces.
    pub(crate) async fn asking(app: &App, query: &str, pieces: usize) -> Self {
        let mut reader = Self::new(query);
        reader.read_pieces(app, pieces).await;
        reader
    }

    /// A second reader of the same generation, who begins at the start.
    pub(crate) fn another(&self) -> Self {
        Self { id: self.id, accepted: true, ..Self::new("") }
    }

    pub(crate) async fn read_pieces(&mut self, app: &App, pieces: usize) {
        self.read(app, |reader| reader.pieces >= pieces).await;
    }

    /// Reads to the terminal event, and returns its name.
    pub(crate) async fn read_to_the_end(&mut self, app: &App) -> String {
        self.read(app, |_| false).await;
        self.ending().expect("a read that is not stopped ends with a terminal event").0.clone()
    }

    pub(crate) fn ending(&self) -> Option<&(String, Value)> {
        let terminal = ["done", "error", "timeout", "expired", "cancelled"];
        self.events.last().filter(|(name, _)| terminal.contains(&name.as_str()))
    }

    /// The data of every `started` and `rewind` frame.
    pub(crate) fn attempts(&self) -> Vec<&Value> {
        let started = |(name, _): &&(String, Value)| name == "started" || name == "rewind";
        self.events.iter().filter(started).map(|(_, data)| data).collect()
    }

    async fn read(&mut self, app: &App, enough: impl Fn(&Self) -> bool) {
        let reading = async {
            let mut connections = 0;
            while self.connection(app, &enough).await.is_continue() {
                connections += 1;
                sleep(Duration::from_millis(50)).await;
            }
            connections
        };
        let Ok(cuts) = timeout(PATIENCE, reading).await else {
            panic!("a reader of {} is left hanging after {} pieces; {}", self.id, self.pieces, app.output());
        };
        self.resumed += cuts;
    }

    /// Reads one connection until it is cut, or until there is no need to go on.
    async fn connection(&mut self, app: &App, enough: &impl Fn(&Self) -> bool) -> ControlFlow<()> {
        let request = if self.accepted {
            Request::get(&format!("/ask/{}", self.id)).after(self.cursor)
        } else {
            Request::post("/ask", &self.body)
        };
        let Ok(mut response) = client::send(app.address(), &request, None).await else {
            return ControlFlow::Continue(());
        };
        match response.status {
            200 => self.accepted = true,
            503 => return ControlFlow::Continue(()),
            status => panic!("unexpected status {status}: {}", response.text().await),
        }
        while let Ok(event) = response.next().await {
            if event.event == "queued" || event.event == "waiting_for_model" {
                continue;
            }
            let seq = event.id.expect("every frame of an entry has its id");
            assert_eq!(seq, self.cursor + 1, "an entry was lost or repeated");
            self.cursor = seq;
            if event.event == "message" {
                self.text.push_str(&event.data);
                self.pieces += 1;
            } else {
                if event.event == "rewind" {
                    self.text.clear();
                }
                self.events.push((event.event, serde_json::from_str(&event.data).unwrap()));
            }
            if self.ending().is_some() || enough(self) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}
