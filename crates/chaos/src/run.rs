//! A run: starts the system, runs the plan, stops all faults, waits until every reader has its end, and checks them.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    args::Options,
    clients,
    examine::examine,
    generation::Generation,
    plan::{Plan, PlannedFault, Prompt, Scope},
    process::{Binaries, Process},
    reader::{Opening, Reader, Record},
    report::Report,
    say::say,
    system::{Running, System},
    world::World,
};

/// Every reader must have its end this long after the last fault. It is the time of a few answers at the slowest pace, one
/// after the other, and of all timeouts of the product.
const BOUND: Duration = Duration::from_secs(120);

/// How many generations may run at once. A machine that is slower than the plan gets more time, not more work.
const AT_ONCE: usize = 40;

/// How long the plan waits for one of them to end. Longer than every outage: after that the product hangs, and the run ends.
const STUCK: Duration = Duration::from_secs(240);

/// How many generations are read at once for the last check.
const LAST_READERS: usize = 8;

/// How many rounds there are between two lines of progress.
const TOLD_EVERY: usize = 10;

/// What happens at an instant of a round.
enum Step {
    Ask(Prompt),
    Inject(PlannedFault),
}

type Lived = JoinSet<(Arc<Generation>, Vec<Record>)>;

pub(crate) async fn run(options: &Options, binaries: &Binaries) -> Result<Report, String> {
    let system = System::start(options, binaries).await?;
    let began = Instant::now();
    let world = Arc::new(World::new(system.replicas()));
    let running = system.run(&world);
    let mut lived = play(options, &world, &running).await;
    let system = running.recover().await;

    let recovered = Instant::now();
    let mut seen = Vec::new();
    let all = async {
        while let Some(one) = lived.join_next().await {
            seen.push(one.expect("no reader panics"));
        }
    };
    within(BOUND, &world, all).await;
    let mut report = Report::new(options);
    report.settled_after = recovered.elapsed();
    judge_all(&mut report, &world, &system, seen).await;
    for (_, kind) in world.fault_log.kinds() {
        *report.faults.entry(kind).or_default() += 1;
    }
    report.starts_of_previous = system.processes().map(Process::starts_of_previous).sum();
    report.repeats = world.repeats();
    report.took = began.elapsed();
    report.violations.splice(0..0, world.violations());
    Ok(report)
}

/// Waits for `ending`, and stops its readers after `bound`.
pub(crate) async fn within<T>(bound: Duration, world: &World, ending: impl Future<Output = T>) -> T {
    let mut ending = pin!(ending);
    if let Ok(ended) = timeout(bound, &mut ending).await {
        return ended;
    }
    world.give_up.cancel();
    ending.await
}

/// Every round, each at its own length.
async fn play(options: &Options, world: &Arc<World>, running: &Running) -> Lived {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut lived = JoinSet::new();
    for (number, round) in (1..).zip(Plan::new(Scope::of(options), options.seed).take(options.rounds)) {
        let began = Instant::now();
        let prompts = round.prompts.into_iter().map(|prompt| (prompt.at, Step::Ask(prompt)));
        let faults = round.faults.into_iter().map(|planned| (planned.at, Step::Inject(planned)));
        let mut steps: Vec<_> = prompts.chain(faults).collect();
        steps.sort_by_key(|(at, _)| *at);
        for (at, step) in steps {
            sleep_until(began + at).await;
            match step {
                Step::Inject(planned) => running.inject(planned).await,
                Step::Ask(prompt) => {
                    let Ok(slot) = timeout(STUCK, Arc::clone(&slots).acquire_owned()).await else {
                        world.violation(format!(
                            "in round {number} no generation ended for {STUCK:?}; no more rounds"
                        ));
                        return lived;
                    };
                    let slot = slot.expect("it is never closed");
                    let (generation, world) = (Arc::new(Generation::new(prompt)), Arc::clone(world));
                    lived.spawn(async move {
                        let records = clients::run(Arc::clone(&generation), world).await;
                        drop(slot);
                        (generation, records)
                    });
                }
            }
        }
        sleep_until(began + round.length).await;
        if number % TOLD_EVERY == 0 {
            let violations = world.violations().len();
            let running = AT_ONCE - slots.available_permits();
            say(&format!(
                "{} s: {number} of {} rounds, {running} generations are running, {violations} violations",
                world.fault_log.clock(),
                options.rounds
            ));
        }
    }
    lived
}

/// Reads every generation once more, and compares all readers with that.
async fn judge_all(
    report: &mut Report,
    world: &Arc<World>,
    system: &System,
    seen: Vec<(Arc<Generation>, Vec<Record>)>,
) {
    // The first world may have given up.
    let last_world = Arc::new(World::new(system.replicas()));
    let judging = async {
        let mut read = stream::iter(seen)
            .map(|(generation, records)| {
                let last_world = Arc::clone(&last_world);
                async move {
                    // A client that does not know whether its prompt was accepted sends it again.
                    let opening =
                        if generation.is_accepted() { Opening::Get { after: 0 } } else { Opening::Post };
                    let last = Reader::new(&last_world, &generation, "the last", opening, 0);
                    (generation, records, last.undisturbed().read().await)
                }
            })
            .buffer_unordered(LAST_READERS);
        while let Some((generation, records, last)) = read.next().await {
            let (judged, wrong) = examine(world, system, &generation, &records, &last).await;
            report.add_generation(generation.is_accepted(), &judged);
            for record in records.iter().chain([&last]) {
                report.add_reader(generation.id, record);
            }
            report.violations.extend(wrong);
        }
    };
    within(BOUND, &last_world, judging).await;
    report.violations.extend(last_world.violations());
}
