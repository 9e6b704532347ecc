//! The clients of one generation: the asker, who may stop it or leave, other readers, and a client that only repeats the
//! prompt.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use testkit::client::{self, End, Request};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    generation::Generation,
    plan::{Asker, Joins, Other},
    reader::{Opening, Reader, Record},
    world::World,
};

/// Runs the readers, and returns what they saw.
pub(crate) async fn run(generation: Arc<Generation>, world: Arc<World>) -> Vec<Record> {
    let seed = generation.prompt.seed;
    let leaves_after = match generation.prompt.asker {
        Asker::Leaves { after } => Some(after),
        Asker::Stays | Asker::Stops { .. } => None,
    };
    let asker = Reader::new(&world, &generation, "asker", Opening::Post, seed).leaving_after(leaves_after);
    let mut readers = JoinSet::new();
    readers.spawn(async move { Some(asker.read().await) });
    for (number, other) in (1_u64..).zip(generation.prompt.others.clone()) {
        let (generation, world) = (Arc::clone(&generation), Arc::clone(&world));
        readers.spawn(async move { read_too(generation, &world, number, other).await });
    }
    if let Asker::Stops { after } = generation.prompt.asker {
        let (generation, world) = (Arc::clone(&generation), Arc::clone(&world));
        readers.spawn(async move {
            world.give_up.run_until_cancelled(stop(&generation, &world, after)).await;
            None
        });
    }
    if generation.prompt.repeats > 0 {
        let (generation, world) = (Arc::clone(&generation), Arc::clone(&world));
        readers.spawn(async move {
            world.give_up.run_until_cancelled(repeat(&generation, &world)).await;
            None
        });
    }
    readers.join_all().await.into_iter().flatten().collect()
}

async fn read_too(
    generation: Arc<Generation>,
    world: &Arc<World>,
    number: u64,
    other: Other,
) -> Option<Record> {
    let joining = async {
        match other.joins {
            Joins::Repeating => sleep(other.after).await,
            Joins::Start | Joins::Cursor => {
                generation.until_accepted().await;
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
        Joins::Cursor => Opening::Get { after: generation.seq() / 2 },
    };
    let name = format!("{number}, {:?}", other.joins);
    Some(
        Reader::new(world, &generation, name, opening, generation.prompt.seed.wrapping_add(number))
            .read()
            .await,
    )
}

/// A client that sends the same prompt with the same id again and again while it waits, and does not read.
async fn repeat(generation: &Generation, world: &World) {
    let mut rng = StdRng::seed_from_u64(generation.prompt.seed ^ 2);
    let request = Request::post("/ask", &generation.body);
    for _ in 0..generation.prompt.repeats {
        sleep(Duration::from_millis(rng.random_range(20..400))).await;
        if generation.seq() > 0 {
            return;
        }
        world.repeated();
        match client::send(world.replica(&mut rng), &request, None).await {
            Ok(answer) if answer.status == 200 => generation.accept(),
            Ok(answer) if answer.status == 503 => world.refused(&answer.text().await),
            Ok(answer) => {
                let (status, text) = (answer.status, answer.text().await);
                return world
                    .violation(format!("generation {}: sent again: status {status}: {text}", generation.id));
            }
            Err(End::Malformed(what)) => {
                return world.violation(format!("generation {}: sent again: {what}", generation.id));
            }
            Err(_) => {}
        }
    }
}

async fn stop(generation: &Generation, world: &World, after: Duration) {
    generation.until_accepted().await;
    sleep(after).await;
    generation.stopped();
    let mut rng = StdRng::seed_from_u64(generation.prompt.seed ^ 1);
    let request = Request::delete(&format!("/ask/{}", generation.id));
    loop {
        let server = world.replica(&mut rng);
        match client::send(server, &request, None).await {
            Ok(answer) if answer.status == 202 => return,
            Ok(answer) if answer.status != 503 => {
                let (status, text) = (answer.status, answer.text().await);
                return world
                    .violation(format!("generation {}: stop: status {status}: {text}", generation.id));
            }
            Err(End::Malformed(what)) => {
                return world.violation(format!("generation {}: stop: {what}", generation.id));
            }
            Ok(_) | Err(_) => sleep(Duration::from_millis(rng.random_range(0..200))).await,
        }
    }
}
