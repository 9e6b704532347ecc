//! One prompt and everybody who has to do with it: the asker, who may stop it or leave, and other readers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokenwire_core::GenerationId;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    plan::{Asker, Joins, Other, Prompt},
    reader::{Opening, Reader, Record},
    wire::{self, End, Request},
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
    /// The last entry that anybody saw.
    reached: AtomicU64,
    /// Somebody pressed stop.
    stopped: AtomicBool,
}

impl Generation {
    pub(crate) fn new(prompt: Prompt) -> Self {
        let id = GenerationId::fresh();
        let body = serde_json::json!({ "query": prompt.query, "uuid": id.to_string() }).to_string();
        Self {
            id,
            prompt,
            asked_at: Instant::now(),
            body,
            accepted: watch::Sender::new(false),
            reached: AtomicU64::new(0),
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

    pub(crate) fn reached(&self, seq: u64) {
        self.reached.fetch_max(seq, Ordering::Relaxed);
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
            Joins::Cursor => Opening::Get { after: self.reached.load(Ordering::Relaxed) / 2 },
        };
        let name = format!("{number}, {:?}", other.joins);
        Some(Reader::new(world, &self, name, opening, self.prompt.seed.wrapping_add(number)).read().await)
    }

    async fn stop(&self, world: &World, after: Duration) {
        self.until_accepted().await;
        sleep(after).await;
        self.stopped.store(true, Ordering::Relaxed);
        let mut dice = StdRng::seed_from_u64(self.prompt.seed ^ 1);
        let request = Request::delete(&format!("/ask/{}", self.id));
        loop {
            let port = world.replica(&mut dice);
            match wire::send(port, &request, None).await {
                Ok(answer) if answer.status == 202 => return,
                Ok(answer) if answer.status != 503 => {
                    let (status, text) = (answer.status, answer.text().await);
                    return world.violation(format!("generation {}: stop: status {status}: {text}", self.id));
                }
                Err(End::Broken(what)) => {
                    return world.violation(format!("generation {}: stop: {what}", self.id));
                }
                Ok(_) | Err(_) => sleep(Duration::from_millis(dice.random_range(0..200))).await,
            }
        }
    }
}
