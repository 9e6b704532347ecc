//! Measures how long a reader waits when the worker of its answer has a fault.
//!
//! The settings are the defaults, and there is one answer with one reader. The run injects a fault into the worker of the
//! answer, in the middle of it. The fault lasts until another attempt has begun. Then the first worker comes back, and must
//! learn that it is fenced.
//!
//! A wrong text, a reader that hangs and a worker that is not fenced are violations. The times depend on the machine, so the
//! run reports them and sets no limit.

mod table;
mod way;

use std::{num::NonZeroUsize, ops::RangeInclusive, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use self::{
    table::{Table, Trial},
    way::Way,
};
use crate::{
    args::Options,
    examine::examine,
    generation::Generation,
    plan::{Asker, Asks, Fault, Prompt},
    process::{Binaries, Process},
    reader::{Opening, Reader},
    run::within,
    say::say,
    system::System,
    world::World,
};

/// The word of the answer at which the fault is injected. Enough words are left for the first worker to meet its successor.
const MIDDLE: RangeInclusive<u64> = 20..=100;

/// More than an answer and the slowest takeover take.
const BOUND: Duration = Duration::from_secs(90);

/// How often the first worker is asked whether it was fenced.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) async fn run(
    options: &Options,
    binaries: &Binaries,
    times: NonZeroUsize,
) -> Result<Table, String> {
    let mut system = System::start(options, binaries).await?;
    let mut rng = StdRng::seed_from_u64(options.seed);
    let mut table = Table::new(options);
    for &way in Way::all(options.mode) {
        for number in 1..=times.get() {
            let trial = trial(&mut system, way, &mut rng).await;
            say(&format!("{number} of {times}, {}: {trial}", way.name()));
            table.add(way, trial);
        }
    }
    Ok(table)
}

/// One answer with one fault.
async fn trial(system: &mut System, way: Way, rng: &mut StdRng) -> Trial {
    let words = rng.random_range(MIDDLE);
    let query = format!("What happens after {words} words, {}?", way.name());
    let seed = rng.random();
    let prompt = Prompt {
        at: Duration::ZERO,
        query,
        asks: Asks::Simulated,
        repeats: 0,
        asker: Asker::Stays,
        others: Vec::new(),
        seed,
    };
    let generation = Arc::new(Generation::new(prompt));
    let world = Arc::new(World::new(system.replicas()));
    let reader = Reader::new(&world, &generation, "the only", Opening::Post, seed).undisturbed();
    let all =
        Box::pin(async { tokio::join!(reader.read(), inject(way, words, system, &generation, &world)) });
    let (record, inject) = within(BOUND, &world, all).await;

    let last_world = Arc::new(World::new(system.replicas()));
    let last =
        Reader::new(&last_world, &generation, "the last", Opening::Get { after: 0 }, seed).undisturbed();
    let last = within(BOUND, &last_world, last.read()).await;
    let silence = record.longest_stall;
    let (judged, fault) = examine(&world, system, &generation, &[record], &last).await;
    let mut wrong: Vec<_> =
        fault.into_iter().chain(world.violations()).chain(last_world.violations()).collect();
    if wrong.is_empty() && way.dependency().is_none() && judged.attempts < 2 {
        wrong.push(format!(
            "generation {}: no other worker took over, so nothing was measured",
            generation.id
        ));
    }
    wrong.extend(system.look().err());
    let fenced_after = inject.unwrap_or_else(|why| {
        wrong.push(why);
        None
    });
    Trial { silence, fenced_after, attempts: judged.attempts, wrong }
}

/// Injects a fault into the worker of this answer after so many words. Returns how long the worker ran before it was fenced,
/// if it came back.
async fn inject(
    way: Way,
    words: u64,
    system: &mut System,
    generation: &Generation,
    world: &World,
) -> Result<Option<Duration>, String> {
    let in_the_middle = generation.until(|now| now.seq > words);
    let Some(before) = world.give_up.run_until_cancelled(in_the_middle).await else {
        return Err(format!("the answer never came to its word {words}"));
    };
    if let Some((target, fault)) = way.dependency() {
        let _guard = world.fault_log.begin(way.name(), way.name());
        return system.inject_once(target, fault).await.map(|()| None);
    }
    let Some((process, links)) = system.reach(&before.region) else {
        return Err(format!(
            "there is no process {:?}, of which the answer says it is its own",
            before.region
        ));
    };
    let name = process.name.clone();
    let _guard = world.fault_log.begin(&name, way.name());
    // The fault ends also when the wait is given up: the next trial needs the process.
    let replaced = world.give_up.run_until_cancelled(generation.until(|now| now.attempt > before.attempt));
    match way {
        Way::Restart => process.inject(Fault::Kill { down: Duration::ZERO }).await?,
        Way::Drain => process.inject(Fault::Drain).await?,
        Way::DrainHastily => process.inject(Fault::DrainHastily { again: Duration::from_millis(50) }).await?,
        Way::Kill => {
            process.kill();
            let _ = replaced.await;
            process.start().await?;
        }
        // Done above.
        Way::RedisAway
        | Way::RedisSwitch
        | Way::RedisSwitchUnnoticed
        | Way::RabbitMqRestart
        | Way::RabbitMqConnections => {}
        Way::Freeze => {
            let fenced = process.times_fenced().await;
            process.signal(Signal::SIGSTOP);
            let _ = replaced.await;
            process.signal(Signal::SIGCONT);
            return until_fenced(process, fenced, world).await.map(Some);
        }
        Way::Isolate => {
            let fenced = process.times_fenced().await;
            for link in &links {
                link.black_hole();
            }
            let _ = replaced.await;
            for link in &links {
                link.heal();
            }
            return until_fenced(process, fenced, world).await.map(Some);
        }
    }
    Ok(None)
}

/// How long it takes from now until the process is fenced once more than before.
async fn until_fenced(process: &Process, before: Option<u64>, world: &World) -> Result<Duration, String> {
    let began = Instant::now();
    let before = before.ok_or_else(|| format!("{} did not answer for its metrics", process.name))?;
    let fenced = async {
        while process.times_fenced().await.is_none_or(|now| now <= before) {
            sleep(LOOK).await;
        }
    };
    match world.give_up.run_until_cancelled(fenced).await {
        Some(()) => Ok(began.elapsed()),
        None => Err(format!("{} came back and was not fenced", process.name)),
    }
}
