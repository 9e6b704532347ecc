//! One prompt and everybody who has to do with it: the asker, who may stop it or leave, and other readers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use testkit::client::{self, End, Frame, Request};
use tokenwire_core::GenerationId;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    plan::{Asker, Joins, Other, Prompt},
    reader::{Opening, Reader, Record},
    world::World,
};

/// What is known of a generation while it is read.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) id: GenerationId,
    pub(crate) prompt: Prompt,
    pub(crate) asked_at: Instant,
    /// Of the POST.
    pub(crate) body: String,
    /// Somebody saw a 200.
    accepted: watch::Sender<bool>,
    progress: watch::Sender<Progress>,
    /// Somebody pressed stop.
    stopped: AtomicBool,
}

/// How far anybody has read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// The last entry that anybody saw.
    pub(crate) seq: u64,
    /// Whose it is: the number of the attempt, and the region where it runs.
    pub(crate) attempt: u64,
    pub(crate) region: String,
}

impl Generation {
    pub(crate) fn new(prompt: Prompt) -> Self {
        let id = GenerationId::fresh();
        let (query, model) = (&prompt.query, prompt.asks.model());
        let body = json!({ "query": query, "uuid": id.to_string(), "model": model }).to_string();
        Self {
            id,
            prompt,
            asked_at: Instant::now(),
            body,
            accepted: watch::Sender::new(false),
            progress: watch::Sender::default(),
            stopped: AtomicBool::new(false),
        }
    }

    pub(crate) fn accept(&self) {
        self.accepted.send_replace(true);
    }

    pub(crate) fn is_accepted(&self) -> bool {
        *self.accepted.borrow()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Somebody saw an entry.
    pub(crate) fn saw(&self, seq: u64, frame: &Frame) {
        self.progress.send_if_modified(|progress| {
            let is_new = seq > progress.seq;
            if is_new {
                progress.seq = seq;
                if let "started" | "rewind" = frame.event.as_str() {
                    let data: Value = serde_json::from_str(&frame.data).unwrap_or_default();
                    progress.attempt = data.get("attempt").and_then(Value::as_u64).unwrap_or_default();
                    let region = data.get("region").and_then(Value::as_str).unwrap_or_default();
                    region.clone_into(&mut progress.region);
                }
            }
            is_new
        });
    }

    /// Waits until somebody has read so far.
    pub(crate) async fn until(&self, is_reached: impl FnMut(&Progress) -> bool) -> Progress {
        let mut progress = self.progress.subscribe();
        progress.wait_for(is_reached).await.expect("the sender is ours").clone()
    }

    async fn until_accepted(&self) {
        // The sender is ours, so it does not go away.
        let _ = self.accepted.subscribe().wait_for(|accepted| *accepted).await;
    }

    /// Everybody reads; returns what they saw.
    pub(crate) async fn live(self: Arc<Self>, world: Arc<World>) -> Vec<Record> {
        let seed = self.prompt.seed;
        let leaves_after = match self.prompt.asker {
            Asker::Leaves { after } => Some(after),
            Asker::Stays | Asker::Stops { .. } => None,
        };
        let asker = Reader::new(&world, &self, "asker", Opening::Post, seed).leaving_after(leaves_after);
        let mut readers = JoinSet::new();
        readers.spawn(async move { Some(asker.read().await) });
        for (number, other) in (1_u64..).zip(self.prompt.others.clone()) {
            let (generation, world) = (Arc::clone(&self), Arc::clone(&world));
            readers.spawn(async move { generation.other(&world, number, other).await });
        }
        if let Asker::Stops { after } = self.prompt.asker {
            let (generation, world) = (Arc::clone(&self), Arc::clone(&world));
            readers.spawn(async move {
                world.give_up.run_until_cancelled(generation.stop(&world, after)).await;
                None
            });
        }
        if self.prompt.repeats > 0 {
            let (generation, world) = (Arc::clone(&self), Arc::clone(&world));
            readers.spawn(async move {
                world.give_up.run_until_cancelled(generation.repeat(&world)).await;
                None
            });
        }
        readers.join_all().await.into_iter().flatten().collect()
    }

    async fn other(self: Arc<Self>, world: &Arc<World>, number: u64, other: Other) -> Option<Record> {
        let joining = async {
            match other.joins {
                Joins::Repeating => sleep(other.after).await,
                Joins::Start | Joins::Cursor => {
                    self.until_accepted().await;
                    sleep(other.after).await;
                }
            }
        };
        // Where the prompt was never accepted, the asker is the one who hangs.
        world.give_up.run_until_cancelled(joining).await?;
        let opening = match other.joins {
            Joins::Repeating => Opening::Post,
            Joins::Start => Opening::Get { after: 0 },
            // Before the terminal entry: after it, there is nothing to read.
            Joins::Cursor => Opening::Get { after: self.progress.borrow().seq / 2 },
        };
        let name = format!("{number}, {:?}", other.joins);
        Some(Reader::new(world, &self, name, opening, self.prompt.seed.wrapping_add(number)).read().await)
    }

    /// A client that sends the same prompt with the same id again and again while it waits, and does not read.
    async fn repeat(&self, world: &World) {
        let mut dice = StdRng::seed_from_u64(self.prompt.seed ^ 2);
        let request = Request::post("/ask", &self.body);
        for _ in 0..self.prompt.repeats {
            sleep(Duration::from_millis(dice.random_range(20..400))).await;
            if self.progress.borrow().seq > 0 {
                return;
            }
            world.repeated();
            match client::send(world.replica(&mut dice), &request, None).await {
                Ok(answer) if answer.status == 200 => self.accept(),
                Ok(answer) if answer.status == 503 => world.refused(&answer.text().await),
                Ok(answer) => {
                    let (status, text) = (answer.status, answer.text().await);
                    return world
                        .violation(format!("generation {}: sent again: status {status}: {text}", self.id));
                }
                Err(End::Malformed(what)) => {
                    return world.violation(format!("generation {}: sent again: {what}", self.id));
                }
                Err(_) => {}
            }
        }
    }

    async fn stop(&self, world: &World, after: Duration) {
        self.until_accepted().await;
        sleep(after).await;
        self.stopped.store(true, Ordering::Relaxed);
        let mut dice = StdRng::seed_from_u64(self.prompt.seed ^ 1);
        let request = Request::delete(&format!("/ask/{}", self.id));
        loop {
            let server = world.replica(&mut dice);
            match client::send(server, &request, None).await {
                Ok(answer) if answer.status == 202 => return,
                Ok(answer) if answer.status != 503 => {
                    let (status, text) = (answer.status, answer.text().await);
                    return world.violation(format!("generation {}: stop: status {status}: {text}", self.id));
                }
                Err(End::Malformed(what)) => {
                    return world.violation(format!("generation {}: stop: {what}", self.id));
                }
                Ok(_) | Err(_) => sleep(Duration::from_millis(dice.random_range(0..200))).await,
            }
        }
    }
}
