//! One run: clients, readers, workers and faults; then the calm, the end, and the oracle.

mod client;
mod workers;

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use job_queue::memory::MemoryQueue;
use model::{Simulated, simulated};
use testkit::{
    clock::TokioClock,
    history::History,
    wrapped::{Log, Queue},
};
use token_log::memory::MemoryLog;
use tokenwire_core::{
    Clock, Event, GenerationId, Generations, JobQueue, Model, Seq, TokenLog,
    catalogue::ModelNames,
    generations::Limits,
    model::{Continuation, Output},
    token_log::Prefix,
};
use tokio::{runtime::Builder, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Defect, Violation,
    broker::Broker,
    clock::JumpingClock,
    flawed_log::FlawedLog,
    flawed_queue::FlawedQueue,
    injector::{FaultInjector, Node},
    ledger::{LedgerLog, LedgerQueue},
    oracle::{Case, Oracle},
    plan::{Nature, Plan, Wanted, name_of},
    record::{Record, Rule},
    remote_log::RemoteLog,
    remote_queue::RemoteQueue,
    rng::Rng,
};

/// The result of one seed.
#[derive(Debug)]
pub struct Run {
    /// The violations. Empty when all is well.
    pub violations: Vec<Violation>,
    /// What happened, one line each.
    pub history: String,
    /// How many generations were accepted.
    pub accepted: usize,
    /// How many attempts there were.
    pub attempts: usize,
    /// How many entries the streams had.
    pub entries: usize,
    /// How many of the accepted ones ended in each way.
    pub endings: BTreeMap<&'static str, usize>,
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
    rng: Arc<Rng>,
    truth: TokioClock,
    injector: Arc<FaultInjector>,
    record: Arc<Record>,
    log: Arc<dyn TokenLog>,
    queue: Arc<dyn JobQueue>,
    /// The queue, where it is one that gives up or is purged.
    broker: Option<Arc<Broker>>,
    /// The log, where it is one with a defect.
    flawed_log: Option<FlawedLog>,
    natures: Arc<BTreeMap<GenerationId, Nature>>,
    defect: Option<Defect>,
    clients_are_gone: AtomicBool,
    /// By reader.
    seen: BTreeMap<String, History<Event>>,
}

impl World {
    fn new(seed: u64, defect: Option<Defect>) -> Self {
        let rng = Arc::new(Rng::new(seed));
        let (plan, rates) = Plan::draw(seed, &rng);
        let record = Arc::new(Record::new(defect != Some(Defect::DamageUntold)));
        record.note(format_args!("{plan:?}"));
        record.note(format_args!("{rates:?}"));
        let injector = Arc::new(FaultInjector::new(Arc::clone(&rng), rates));
        let truth = TokioClock::default();
        let clock = Arc::new(JumpingClock::new(truth));
        let mut log: Arc<dyn TokenLog> = Arc::new(MemoryLog::new(clock, Duration::from_secs(7200)));
        let flawed_log = defect.map(|defect| FlawedLog::new(Arc::clone(&log), defect));
        if let Some(flawed) = &flawed_log {
            log = Arc::new(Log(flawed.clone()));
        }
        let log: Arc<dyn TokenLog> = Arc::new(Log(LedgerLog { log, truth, record: Arc::clone(&record) }));
        let broker = plan.delivery_limit.map(|limit| Arc::new(Broker::with_limit(limit)));
        let queue: Arc<dyn JobQueue> = match &broker {
            Some(broker) => Arc::clone(broker) as _,
            None => Arc::new(MemoryQueue::default()),
        };
        let mut queue: Arc<dyn JobQueue> =
            Arc::new(Queue(LedgerQueue { queue, log: Arc::clone(&log), record: Arc::clone(&record) }));
        if let Some(defect) = defect {
            queue = Arc::new(Queue(FlawedQueue::new(queue, defect)));
        }
        let readers = plan.generations.iter().flat_map(|wanted| &wanted.readers);
        let histories = readers.map(|reader| (reader.name.clone(), History::default())).collect();
        let natures = plan.generations.iter().map(|wanted| (wanted.id, wanted.nature)).collect();
        let natures = Arc::new(natures);
        let clients_are_gone = AtomicBool::new(false);
        Self {
            plan,
            rng,
            truth,
            injector,
            record,
            log,
            queue,
            broker,
            flawed_log,
            natures,
            defect,
            clients_are_gone,
            seen: histories,
        }
    }

    /// A process with its own clock, and its own way to the log and the queue.
    fn process(&self, name: String) -> Process {
        let node = Node::new(Arc::clone(&self.injector), name);
        let log = RemoteLog {
            node: node.clone(),
            log: Arc::clone(&self.log),
            record: Arc::clone(&self.record),
            defect: self.defect,
        };
        let queue = RemoteQueue {
            node: node.clone(),
            queue: Arc::clone(&self.queue),
            record: Arc::clone(&self.record),
            slots: self.plan.slots,
        };
        Process {
            log: Arc::new(Log(log)),
            queue: Arc::new(queue),
            clock: Arc::new(JumpingClock::new(self.truth)),
            node,
        }
    }
}

#[derive(Debug)]
struct Process {
    node: Node,
    clock: Arc<JumpingClock>,
    log: Arc<dyn TokenLog>,
    queue: Arc<dyn JobQueue>,
}

impl Process {
    /// The `Generations` of an API process.
    fn generations(&self, plan: &Plan) -> Generations {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let limits = Limits { queue_time: plan.queue_time, run_time: plan.run_time };
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
    let apis = ["api 1", "api 2"].map(|name| world.process(name.into()));
    let generations: Vec<_> = apis.iter().map(|api| api.generations(&world.plan)).collect();
    let mut workers = workers::Workers::new(Arc::clone(&world), apis);
    let clients = world.plan.generations.iter().map(|wanted| client::live(&world, wanted, &generations));
    let clients = async {
        futures::future::join_all(clients).await;
        world.clients_are_gone.store(true, Ordering::SeqCst);
    };
    let watches = generations.iter().map(|api| api.keep_watch(CancellationToken::new()));
    let keep_watch = futures::future::join_all(watches);
    let all = async {
        futures::join!(Box::pin(clients), Box::pin(workers.run_faults()));
        // Jobs that were delivered twice still have to be acknowledged, and generations without readers may still run.
        let is_over = timeout(LONG, workers.replace_dead()).await.is_err();
        debug_assert!(is_over, "it never ends");
        if timeout(LONG, workers.shutdown()).await.is_err() {
            world.record.violation(Rule::I5, "a worker that was asked to finish does not");
        }
    };
    tokio::select! {
        biased;
        () = Box::pin(all) => {}
        _ = Box::pin(keep_watch) => {}
    }
    // Kept, so that each is found once.
    let mut left = Vec::new();
    while let Ok(Ok(lease)) = timeout(LONG, world.queue.lease()).await {
        world.record.violation_of(lease.job().id, Rule::I5, "ended, and its job is still there");
        left.push(lease);
    }
    for id in world.broker.iter().flat_map(|broker| broker.dead()) {
        world.record.violation_of(id, Rule::I5, "ended, and its job is among the dead letters");
    }
    conclude(&world).await
}

async fn conclude(world: &World) -> Run {
    let oracle = Oracle { record: &world.record, plan: &world.plan, log_is_slow: world.injector.is_slow() };
    for wanted in &world.plan.generations {
        let stored = stored(&*world.log, wanted.id).await;
        let readers = wanted.readers.iter().map(|reader| (reader, &world.seen[&reader.name])).collect();
        oracle.judge(&Case { wanted, stored, undisturbed: undisturbed(wanted).await, readers });
    }
    let history = world.record.take_history();
    let facts = world.record.facts();
    let streams = facts.streams.values();
    let mut endings = BTreeMap::new();
    for stream in streams.clone().filter(|stream| stream.accepted) {
        let ending = match stream.entries.last() {
            _ if stream.damaged.is_some() => "damaged",
            Some((_, last)) => last.outcome(),
            None => "unsealed",
        };
        *endings.entry(ending).or_default() += 1;
    }
    Run {
        endings,
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
