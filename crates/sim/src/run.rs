//! One run: clients, readers, workers, and the blows that they take; then the calm, the end, and the oracle.

mod client;
mod staff;

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, time::Duration};

use futures::StreamExt;
use job_queue::memory::MemoryQueue;
use model::{Simulated, simulated};
use testkit::history::History;
use token_log::memory::MemoryLog;
use tokenwire_core::{
    Clock, Event, GenerationId, Generations, JobQueue, Model, Seq, TokenLog,
    catalogue::ModelNames,
    generations::Limits,
    model::{Continuation, Output},
    token_log::Prefix,
};
use tokio::{
    runtime::Builder,
    time::{sleep, timeout},
};

use crate::{
    Defect, Violation,
    chance::Chance,
    clock::JumpingClock,
    flawed_log::FlawedLog,
    flawed_queue::FlawedQueue,
    ledger::{LedgerLog, LedgerQueue},
    oracle::{Case, Oracle},
    plan::{Plan, QUEUE_TIME, RUN_TIME, Wanted, name_of},
    record::{Record, Rule},
    remote_log::{RemoteLog, Repeats},
    remote_queue::RemoteQueue,
    weather::{Node, Switch, Weather},
};

/// What came of one seed.
#[derive(Debug)]
pub struct Run {
    /// Everything that must not happen, and did. Empty when all is well.
    pub violations: Vec<Violation>,
    /// What happened, a line each.
    pub history: String,
    /// How many generations were accepted.
    pub accepted: usize,
    /// How many attempts there were.
    pub attempts: usize,
    /// How many entries the streams had.
    pub entries: usize,
}

/// Longer than the longest wait of a worker that is asked to finish, or of a job that is to be tried again.
const LONG: Duration = Duration::from_secs(90);

/// Runs one seed to its end. The same seed gives the same run.
pub fn run(seed: u64, defect: Option<Defect>) -> Run {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs nothing").block_on(Box::pin(simulate(seed, defect)))
}

/// Everything that lasts for the whole run.
#[derive(Debug)]
struct World {
    plan: Plan,
    chance: Arc<Chance>,
    weather: Arc<Weather>,
    record: Arc<Record>,
    log: Arc<dyn TokenLog>,
    queue: Arc<dyn JobQueue>,
    repeats: Repeats,
    /// By reader.
    seen: BTreeMap<String, History<Event>>,
}

impl World {
    fn new(seed: u64, defect: Option<Defect>) -> Self {
        let chance = Arc::new(Chance::new(seed));
        let (plan, rates) = Plan::draw(seed, &chance);
        let record = Arc::new(Record::default());
        record.note(format_args!("{plan:?}"));
        record.note(format_args!("{rates:?}"));
        let weather = Arc::new(Weather::new(Arc::clone(&chance), rates));
        let clock = Arc::new(JumpingClock::default());
        let mut log: Arc<dyn TokenLog> = Arc::new(MemoryLog::new(clock, Duration::from_secs(7200)));
        if let Some(defect) = defect {
            log = Arc::new(FlawedLog::new(log, defect));
        }
        let log: Arc<dyn TokenLog> = Arc::new(LedgerLog { log, record: Arc::clone(&record) });
        let queue = Arc::new(MemoryQueue::default());
        let mut queue: Arc<dyn JobQueue> =
            Arc::new(LedgerQueue { queue, log: Arc::clone(&log), record: Arc::clone(&record) });
        if let Some(defect) = defect {
            queue = Arc::new(FlawedQueue { queue, defect });
        }
        let readers = plan.generations.iter().flat_map(|wanted| &wanted.readers);
        let histories = readers.map(|reader| (reader.name.clone(), History::default())).collect();
        let repeats = if defect == Some(Defect::AppendTwice) { Repeats::Done } else { Repeats::Recognized };
        Self { plan, chance, weather, record, log, queue, repeats, seen: histories }
    }

    /// A process with its own clock, and its own way to the log and the queue.
    fn process(&self) -> Process {
        let (node, switch) = Node::new(Arc::clone(&self.weather));
        let log = RemoteLog { node: node.clone(), log: Arc::clone(&self.log), repeats: self.repeats };
        let queue = RemoteQueue { node: node.clone(), queue: Arc::clone(&self.queue) };
        Process { log: Arc::new(log), queue: Arc::new(queue), clock: Arc::default(), node, switch }
    }
}

#[derive(Debug)]
struct Process {
    node: Node,
    switch: Arc<Switch>,
    clock: Arc<JumpingClock>,
    log: Arc<dyn TokenLog>,
    queue: Arc<dyn JobQueue>,
}

impl Process {
    /// The door of an API process.
    fn door(&self) -> Generations {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let limits = Limits { queue_time: QUEUE_TIME, run_time: RUN_TIME };
        Generations::new(Arc::clone(&self.log), Arc::clone(&self.queue), clock, names(), limits)
    }
}

fn names() -> ModelNames {
    let others = [Continuation::Resampled, Continuation::Unsupported].map(name_of);
    ModelNames::new(name_of(Continuation::Exact), others)
}

async fn simulate(seed: u64, defect: Option<Defect>) -> Run {
    let world = Arc::new(World::new(seed, defect));
    for wanted in &world.plan.generations {
        let name = wanted.name.clone();
        world.record.stream(wanted.id, format_args!("is {}", wanted.id), |stream, _| stream.name = name);
    }
    let doors = [world.process(), world.process()];
    let generations: Vec<_> = doors.iter().map(Process::door).collect();
    let mut staff = staff::Staff::new(Arc::clone(&world), doors);
    let clients = world.plan.generations.iter().map(|wanted| client::live(&world, wanted, &generations));
    let clients = futures::future::join_all(clients);
    futures::join!(Box::pin(clients), Box::pin(staff.suffer()));

    // What was delivered twice is still to be found sealed.
    sleep(LONG).await;
    if timeout(LONG, staff.go_home()).await.is_err() {
        world.record.violation(Rule::I5, "a worker that was asked to finish does not");
    }
    // Kept, so that each is found once.
    let mut left = Vec::new();
    while let Ok(Ok(lease)) = timeout(LONG, world.queue.lease()).await {
        world.record.violation_of(lease.job().id, Rule::I5, "ended, and its job is still there");
        left.push(lease);
    }
    conclude(&world).await
}

async fn conclude(world: &World) -> Run {
    let oracle = Oracle { record: &world.record, attempts: world.plan.attempts, words: world.plan.words };
    for wanted in &world.plan.generations {
        let stored = stored(&*world.log, wanted.id).await;
        let readers = wanted.readers.iter().map(|reader| (reader, &world.seen[&reader.name])).collect();
        oracle.judge(&Case { wanted, stored, undisturbed: undisturbed(wanted).await, readers });
    }
    let history = world.record.take_history();
    let facts = world.record.facts();
    let streams = facts.streams.values();
    Run {
        violations: facts.violations.clone(),
        history,
        accepted: streams.clone().filter(|stream| stream.accepted).count(),
        attempts: streams.clone().map(|stream| stream.opens.len()).sum(),
        entries: streams.map(|stream| stream.entries.len()).sum(),
    }
}

/// What the exact model says when nothing goes wrong.
async fn undisturbed(wanted: &Wanted) -> String {
    let model = Simulated::new(simulated::Config { delay: Duration::ZERO, ..simulated::Config::default() });
    let nothing = Prefix::default();
    let outputs =
        model.generate(wanted.id, &wanted.request, &nothing).await.expect("it begins at the beginning");
    let text = outputs.filter_map(async |output| match output {
        Ok(Output::Text { text, .. }) => Some(text),
        _ => None,
    });
    text.collect::<Vec<_>>().await.concat()
}

async fn stored(log: &dyn TokenLog, id: GenerationId) -> Option<Vec<(Seq, Event)>> {
    let page = log.read(id, Seq::START, NonZeroUsize::MAX).await.ok()?;
    Some(page.entries.into_iter().map(|entry| (entry.seq, entry.event)).collect())
}
