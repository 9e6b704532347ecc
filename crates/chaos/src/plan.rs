//! The plan of a run, round by round: the prompts, their readers, and the faults.
//!
//! All of it follows from the seed. Times count from the start of a round. The timing of the system does not follow from the
//! seed.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::args::{Mode, Options};

/// How long every answer is, in words.
pub(crate) const WORDS: usize = 250;

/// The times between two words in milliseconds. Each start of a process draws one: some answers end within a second, others
/// last through a dozen faults. The text is the same.
pub(crate) const PACES: [u64; 4] = [2, 5, 20, 60];

/// The upstream refuses prompts that begin with this. No other generation may end as rejected.
pub(crate) const REFUSED: &str = "Refuse this:";

/// The roles of the cluster's processes, in the order of [`TargetId::Process`]. Each has a link to each server.
pub(crate) const CLUSTER: [Role; 5] = [Role::Api, Role::Api, Role::Worker, Role::Worker, Role::Worker];

/// The faults that are set at a round, not drawn, come again after so many rounds.
const EVERY_EMBEDDED: usize = 20;
const EVERY_CLUSTER: usize = 40;

/// RabbitMQ takes ten seconds to come back, and 3.10 forgets a queue that is less than half a second old when it is killed:
/// never in the first rounds, and then rarely.
const RABBITMQ_KILLED: usize = 8;

/// Redis is away for a minute once in so many rounds, and in which of them.
const EVERY_OUTAGE: usize = 60;
const OUTAGE: usize = 45;

/// How long that is.
const MINUTE: Duration = Duration::from_secs(60);

/// Runs of fewer rounds are short: they have no outage of a minute, and no upstream that is away for half of one.
const LONG: usize = 100;

/// More restarts, and more kills, than a generation has attempts.
const DRAINS: u32 = 6;
const KILLS: u32 = 5;

/// How often a client that does not wait for an answer repeats its prompt.
const MOST_REPEATS: u32 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Serve,
    Api,
    Worker,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) length: Duration,
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) faults: Vec<PlannedFault>,
}

/// One generation and its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub(crate) at: Duration,
    pub(crate) query: String,
    pub(crate) asks: Asks,
    /// How often the same prompt with the same id is sent again while it waits.
    pub(crate) repeats: u32,
    pub(crate) asker: Asker,
    pub(crate) others: Vec<Other>,
    /// Of the readers' own choices: where they are cut, which replica they ask.
    pub(crate) seed: u64,
}

/// Which model is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Simulated,
    /// The service of [`crate::upstream`].
    Upstream,
    /// The same, for something that it refuses.
    Refused,
}

impl Asks {
    /// The name of the model.
    pub(crate) fn model(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Upstream | Self::Refused => "upstream",
        }
    }
}

/// What the asker does after it sent the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Reads to the end.
    Stays,
    /// Reads to the end, and presses stop after this time.
    Stops { after: Duration },
    /// Goes away for good after this many bytes of answer. There are no other readers.
    Leaves { after: usize },
}

/// Another reader of the same generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Other {
    pub(crate) joins: Joins,
    pub(crate) after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joins {
    /// By posting the same prompt with the same id, without knowing whether it was accepted.
    Repeating,
    /// By the address, from the start.
    Start,
    /// By the address, with a cursor that the asker had.
    Cursor,
}

/// One fault, with its time and its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlannedFault {
    pub(crate) at: Duration,
    pub(crate) target: TargetId,
    pub(crate) fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TargetId {
    Process(usize),
    /// From a process to its Redis.
    RedisLink(usize),
    /// From a process to its RabbitMQ.
    RabbitMqLink(usize),
    Redis,
    RabbitMq,
    Upstream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// kill -9, and a start after this time.
    Kill { down: Duration },
    /// The same, and again so long after the start: in the middle of its recovery.
    KillTwice { down: Duration, again: Duration },
    /// SIGSTOP, and SIGCONT after this time.
    Freeze { lasts: Duration },
    /// SIGTERM, and a start once it has ended.
    Drain,
    /// SIGTERM twice, and a start once it has ended.
    DrainHastily { again: Duration },
    /// SIGTERM and a start, as one step of a rolling restart.
    Roll,
    /// SIGTERM and a start, so many times within one slow answer.
    DrainLoop { times: u32, between: Duration },
    /// kill -9 and a start, so many times within one slow answer.
    KillLoop { times: u32, between: Duration },
    /// A second process is started on the same port, with another data directory. It must fail, and leave nothing behind.
    SecondStart,
    /// kill -9, and a start while its port is taken for this time: it must fail, and not touch a job. Then a start.
    PortTaken { lasts: Duration },
    /// Redis is killed, and started after a minute with its data.
    Stopped { lasts: Duration },
    /// Redis answers nothing for a minute.
    Frozen { lasts: Duration },
    /// The replica of Redis becomes the primary. The old connections are closed, or stay with the old primary.
    Switch { closes: bool },
    /// RabbitMQ closes every connection.
    CloseConnections,
    /// RabbitMQ closes one connection.
    CloseConnection { number: usize },
    /// RabbitMQ drops the messages of a queue.
    Purge { queue: usize },
    /// RabbitMQ deletes a queue.
    Delete { queue: usize },
    /// The upstream answers 503.
    Busy { lasts: Duration, retry_after: Option<Duration> },
    /// The upstream's port is closed.
    Closed { lasts: Duration },
    /// Every connection is reset.
    Cut,
    /// The connection that carries the last of so many bytes is reset.
    CutAfter { bytes: usize, lasts: Duration },
    /// Every connection reads an end.
    HalfClose,
    /// Every connection is reset, and new ones are, for this time.
    Unreachable { lasts: Duration },
    /// Nothing passes for this time, and the connections stay open.
    BlackHole { lasts: Duration },
    /// Everything passes later for a time.
    Delay { by: Duration, lasts: Duration },
}

impl Fault {
    /// As the table calls it.
    pub(crate) fn kind(self, target: TargetId) -> &'static str {
        match (self, target) {
            (Self::Kill { .. }, TargetId::Redis) => "Redis kill -9 and restart",
            (Self::Kill { .. }, TargetId::RabbitMq) => "RabbitMQ kill -9 and restart",
            (Self::Kill { .. }, _) => "kill -9 and restart",
            (Self::KillTwice { .. }, _) => "kill -9 twice, the second in recovery",
            (Self::Freeze { .. }, TargetId::Redis) => "Redis SIGSTOP and SIGCONT",
            (Self::Freeze { .. }, TargetId::RabbitMq) => "RabbitMQ SIGSTOP and SIGCONT",
            (Self::Freeze { .. }, _) => "SIGSTOP and SIGCONT",
            (Self::Drain, _) => "SIGTERM and restart",
            (Self::DrainHastily { .. }, _) => "SIGTERM twice and restart",
            (Self::Roll, _) => "SIGTERM and restart, rolling",
            (Self::DrainLoop { .. }, _) => "SIGTERM and restart, 6 in a row",
            (Self::KillLoop { .. }, _) => "kill -9 and restart, 5 in a row",
            (Self::SecondStart, _) => "second start on the same port",
            (Self::PortTaken { .. }, _) => "start on a taken port",
            (Self::Stopped { .. }, _) => "Redis stopped for a minute",
            (Self::Frozen { .. }, _) => "Redis SIGSTOP for a minute",
            (Self::Switch { closes: false }, _) => "Redis switch, connections stay",
            (Self::Switch { closes: true }, _) => "Redis switch, connections closed",
            (Self::CloseConnections, _) => "RabbitMQ closes all connections",
            (Self::CloseConnection { .. }, _) => "RabbitMQ closes a connection",
            (Self::Purge { .. }, _) => "RabbitMQ queue purged",
            (Self::Delete { .. }, _) => "RabbitMQ queue deleted",
            (Self::Busy { retry_after: None, .. }, _) => "upstream busy",
            (Self::Busy { retry_after: Some(_), .. }, _) => "upstream busy, with Retry-After",
            (Self::Closed { .. }, _) => "upstream away",
            (Self::Cut, _) => "TCP cut",
            (Self::CutAfter { .. }, _) => "TCP cut after some bytes",
            (Self::HalfClose, _) => "TCP half close",
            (Self::Unreachable { .. }, _) => "TCP refused",
            (Self::BlackHole { .. }, _) => "TCP black hole",
            (Self::Delay { .. }, _) => "TCP delay",
        }
    }

    /// Whether version 6e312e1 lets nothing end for a reason that is not its own, or kept the promises that this fault asks
    /// for. The others are left out of a run with `--previous`.
    fn suits_previous(self) -> bool {
        !matches!(
            self,
            Self::SecondStart
                | Self::PortTaken { .. }
                | Self::Stopped { .. }
                | Self::Frozen { .. }
                | Self::Switch { .. }
                | Self::Purge { .. }
                | Self::Delete { .. }
                | Self::Busy { .. }
                | Self::Closed { .. }
        )
    }
}

/// Decides which faults a plan may contain, for every seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) mode: Mode,
    length: Length,
    versions: Versions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Short,
    Long,
}

/// How many versions of the product run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Versions {
    One,
    Two,
}

impl Scope {
    pub(crate) fn of(options: &Options) -> Self {
        Self {
            mode: options.mode,
            length: if options.rounds < LONG { Length::Short } else { Length::Long },
            versions: if options.previous.is_none() { Versions::One } else { Versions::Two },
        }
    }
}

/// The faults of a round, before they have their instants.
#[derive(Debug, Default)]
struct Faults {
    untimed: Vec<(TargetId, Fault)>,
    /// Those that need an instant of their own.
    timed: Vec<PlannedFault>,
    /// How long the round is at least.
    length: Duration,
}

/// The rounds of one seed, without end.
#[derive(Debug)]
pub(crate) struct Plan {
    rng: StdRng,
    scope: Scope,
    seed: u64,
    round: usize,
}

impl Plan {
    pub(crate) fn new(scope: Scope, seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), scope, seed, round: 0 }
    }

    fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..=to))
    }

    /// Under this many of a hundred.
    fn weigh(&mut self) -> u32 {
        self.rng.random_range(0..100)
    }

    fn prompt(&mut self, index: usize, at: Duration) -> Prompt {
        let asker = match self.weigh() {
            0..70 => Asker::Stays,
            70..84 => Asker::Stops { after: self.ms(0, 3000) },
            _ => Asker::Leaves { after: self.rng.random_range(0..4000) },
        };
        let others = match asker {
            Asker::Leaves { .. } => 0,
            Asker::Stays | Asker::Stops { .. } => self.rng.random_range(0..=3),
        };
        let others = (0..others).map(|_| self.other()).collect();
        let asks = match self.weigh() {
            0..68 => Asks::Simulated,
            68..98 => Asks::Upstream,
            _ => Asks::Refused,
        };
        let repeats = if self.weigh() < 15 { self.rng.random_range(1..=MOST_REPEATS) } else { 0 };
        let mut query =
            format!("What happened in round {} of seed {}, question {index}?", self.round, self.seed);
        if asks == Asks::Refused {
            query.insert_str(0, REFUSED);
        }
        Prompt { at, query, asks, repeats, asker, others, seed: self.rng.random() }
    }

    fn other(&mut self) -> Other {
        match self.weigh() {
            0..40 => Other { joins: Joins::Repeating, after: self.ms(0, 400) },
            40..70 => Other { joins: Joins::Start, after: self.ms(0, 6000) },
            _ => Other { joins: Joins::Cursor, after: self.ms(0, 4000) },
        }
    }

    fn embedded(&mut self) -> Faults {
        let serve = TargetId::Process(0);
        let mut faults = Faults::default();
        match self.round % EVERY_EMBEDDED {
            3 => faults.untimed.push((TargetId::Upstream, self.upstream())),
            5 => faults.untimed.push((serve, Fault::SecondStart)),
            7 => {
                let between = self.ms(100, 400);
                faults = Self::alone(serve, Fault::DrainLoop { times: DRAINS, between }, 9);
                return faults;
            }
            12 => {
                let between = self.ms(200, 1200);
                faults = Self::alone(serve, Fault::KillLoop { times: KILLS, between }, 6);
                return faults;
            }
            15 => faults.untimed.push((serve, Fault::PortTaken { lasts: self.ms(0, 500) })),
            // Too fast for any progress.
            17 => {
                let between = self.ms(0, 200);
                faults = Self::alone(serve, Fault::KillLoop { times: KILLS, between }, 3);
                return faults;
            }
            _ => {}
        }
        let count = if self.weigh() < 30 { 2 } else { 1 };
        faults.untimed.extend((0..count).map(|_| (serve, self.process_fault(Duration::from_millis(300)))));
        faults
    }

    /// One fault at the beginning of a round that has no other, so that it meets one answer from its beginning to its end.
    fn alone(target: TargetId, fault: Fault, seconds: u64) -> Faults {
        let planned = PlannedFault { at: Duration::ZERO, target, fault };
        Faults { timed: vec![planned], length: Duration::from_secs(seconds), ..Faults::default() }
    }

    fn upstream(&mut self) -> Fault {
        let most = match self.scope.length {
            Length::Short => 8_000,
            Length::Long => 30_000,
        };
        let lasts = self.ms(2_000, most);
        match self.weigh() {
            0..30 => Fault::Busy { lasts, retry_after: None },
            30..60 => Fault::Busy { lasts, retry_after: Some(self.ms(1_000, 6_000)) },
            _ => Fault::Closed { lasts },
        }
    }

    /// To a process. It is down for at most so long.
    fn process_fault(&mut self, down: Duration) -> Fault {
        let down = self.rng.random_range(Duration::ZERO..=down);
        match self.weigh() {
            0..45 => Fault::Kill { down },
            45..57 => Fault::KillTwice { down, again: self.ms(0, 200) },
            57..72 => Fault::Freeze { lasts: self.ms(100, 2500) },
            72..90 => Fault::Drain,
            _ => Fault::DrainHastily { again: self.ms(0, 100) },
        }
    }

    fn cluster(&mut self) -> Faults {
        let mut faults = Faults::default();
        let workers = || (2..CLUSTER.len()).map(TargetId::Process);
        if self.round % EVERY_OUTAGE == OUTAGE && self.scope.length == Length::Long {
            let fault = match self.round / EVERY_OUTAGE % 2 {
                0 => Fault::Stopped { lasts: MINUTE },
                _ => Fault::Frozen { lasts: MINUTE },
            };
            faults.untimed.push((TargetId::Redis, fault));
        }
        match self.round % EVERY_CLUSTER {
            3 => faults.untimed.push((TargetId::Redis, Fault::Switch { closes: false })),
            5 | 16 | 25 | 36 => faults.untimed.push((TargetId::Upstream, self.upstream())),
            6 | 26 => faults.untimed.push((TargetId::RabbitMq, Fault::CloseConnections)),
            1 | 19 | 35 => {
                let number = self.rng.random_range(0..CLUSTER.len());
                faults.untimed.push((TargetId::RabbitMq, Fault::CloseConnection { number }));
            }
            RABBITMQ_KILLED => {
                faults.untimed.push((TargetId::RabbitMq, Fault::Kill { down: self.ms(0, 1000) }));
            }
            // Two sweeps over all workers.
            9 | 31 => {
                let step = self.ms(1_500, 2_000);
                let planned = |(index, target)| PlannedFault { at: step * index, target, fault: Fault::Roll };
                faults.timed = (0..).zip(workers().chain(workers())).map(planned).collect();
                faults.length = step * 6;
                return faults;
            }
            11 | 33 => faults.untimed.push((TargetId::RabbitMq, Fault::Purge { queue: self.queue() })),
            14 | 38 => faults.untimed.push((TargetId::RabbitMq, Fault::Delete { queue: self.queue() })),
            18 => {
                let worker = TargetId::Process(self.rng.random_range(2..CLUSTER.len()));
                let between = self.ms(300, 1500);
                return Self::alone(worker, Fault::DrainLoop { times: DRAINS, between }, 12);
            }
            // All of them at once, or the others would go on with the answer undisturbed. A worker needs 1.5 s to be sure that
            // the one before it is silent.
            21 => {
                let between = self.ms(1_700, 2_500);
                let fault = Fault::KillLoop { times: KILLS, between };
                faults.timed =
                    workers().map(|target| PlannedFault { at: Duration::ZERO, target, fault }).collect();
                faults.length = Duration::from_secs(13);
                return faults;
            }
            23 => faults.untimed.push((TargetId::Redis, Fault::Switch { closes: true })),
            28 => {
                faults.untimed.push((TargetId::RabbitMq, Fault::Freeze { lasts: self.ms(500, 5000) }));
            }
            30 => {
                let api = TargetId::Process(self.rng.random_range(0..2));
                faults.untimed.push((api, Fault::PortTaken { lasts: self.ms(0, 500) }));
            }
            _ => {}
        }
        let count = self.rng.random_range(1..=3);
        faults.untimed.extend((0..count).map(|_| self.somewhere()));
        faults
    }

    /// Which of the broker's queues: most often the first, which is the one of the jobs.
    fn queue(&mut self) -> usize {
        if self.weigh() < 60 { 0 } else { self.rng.random_range(1..8) }
    }

    fn somewhere(&mut self) -> (TargetId, Fault) {
        match self.weigh() {
            0..35 => {
                let worker = TargetId::Process(self.rng.random_range(2..CLUSTER.len()));
                // Longer than a worker may be silent before it is replaced.
                let frozen = Fault::Freeze { lasts: self.ms(1600, 4000) };
                let planned = self.process_fault(Duration::from_secs(1));
                (worker, if matches!(planned, Fault::Freeze { .. }) { frozen } else { planned })
            }
            35..55 => {
                (TargetId::Process(self.rng.random_range(0..2)), self.process_fault(Duration::from_secs(1)))
            }
            55..61 => (TargetId::Redis, Fault::Kill { down: self.ms(0, 2500) }),
            61..65 => (TargetId::Redis, Fault::Freeze { lasts: self.ms(200, 3000) }),
            _ => {
                let process = self.rng.random_range(0..CLUSTER.len());
                let redis = self.rng.random_bool(0.6);
                (
                    if redis { TargetId::RedisLink(process) } else { TargetId::RabbitMqLink(process) },
                    self.disturbance(),
                )
            }
        }
    }

    fn disturbance(&mut self) -> Fault {
        match self.weigh() {
            0..25 => Fault::Cut,
            25..40 => Fault::CutAfter { bytes: self.rng.random_range(0..5000), lasts: self.ms(500, 2000) },
            40..50 => Fault::HalfClose,
            50..65 => Fault::Unreachable { lasts: self.ms(200, 3000) },
            65..85 => Fault::BlackHole { lasts: self.ms(300, 4000) },
            _ => Fault::Delay { by: self.ms(1, 150), lasts: self.ms(300, 3000) },
        }
    }
}

impl Iterator for Plan {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        let (length, prompts) = match self.scope.mode {
            Mode::Embedded => (self.ms(800, 2000), 2..=4),
            Mode::Cluster => (self.ms(1200, 2800), 3..=6),
        };
        let prompts = (0..self.rng.random_range(prompts))
            .map(|index| {
                let at = self.rng.random_range(Duration::ZERO..length);
                self.prompt(index, at)
            })
            .collect();
        let mut faults = match self.scope.mode {
            Mode::Embedded => self.embedded(),
            Mode::Cluster => self.cluster(),
        };
        for (target, fault) in std::mem::take(&mut faults.untimed) {
            faults.timed.push(PlannedFault {
                at: self.rng.random_range(Duration::ZERO..length),
                target,
                fault,
            });
        }
        if self.scope.versions == Versions::Two {
            faults.timed.retain(|planned| planned.fault.suits_previous());
        }
        self.round += 1;
        Some(Round { length: length.max(faults.length), prompts, faults: faults.timed })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;

    fn plan(arguments: &str, seed: u64) -> Plan {
        let options = Options::parse_from(format!("chaos {arguments}").split(' '));
        Plan::new(Scope::of(&options), seed)
    }

    fn kinds(plan: Plan, rounds: usize) -> BTreeSet<&'static str> {
        let faults = plan.take(rounds).flat_map(|round| round.faults);
        faults.map(|planned| planned.fault.kind(planned.target)).collect()
    }

    #[test]
    fn one_seed_is_one_plan() {
        for mode in ["--mode embedded", "--mode cluster"] {
            let plan = |seed| plan(mode, seed).take(300).collect::<Vec<_>>();
            assert_eq!(plan(7), plan(7));
            assert_ne!(plan(7), plan(8));
        }
    }

    #[test]
    fn two_hundred_rounds_have_every_fault_on_every_target() {
        let cluster = kinds(plan("--mode cluster --rounds 200", 1), 200);
        assert_eq!(cluster.len(), 30, "{cluster:?}");
        let embedded = kinds(plan("--mode embedded --rounds 200", 1), 200);
        assert_eq!(embedded.len(), 12, "{embedded:?}");
    }

    #[test]
    fn a_short_run_has_no_long_outage() {
        for round in plan("--mode cluster --rounds 99", 1).take(99) {
            for planned in round.faults {
                if let Fault::Busy { lasts, .. } | Fault::Closed { lasts } = planned.fault {
                    assert!(lasts <= Duration::from_secs(8), "{planned:?}");
                }
                assert!(
                    !matches!(planned.fault, Fault::Stopped { .. } | Fault::Frozen { .. }),
                    "{planned:?}"
                );
            }
        }
    }

    #[test]
    fn beside_the_previous_version_nothing_happens_that_it_does_not_survive() {
        for mode in ["embedded", "cluster"] {
            let plan = plan(&format!("--mode {mode} --rounds 200 --previous old"), 1);
            for round in plan.take(200) {
                assert!(round.faults.iter().all(|planned| planned.fault.suits_previous()), "{round:?}");
            }
        }
    }

    #[test]
    fn a_young_queue_is_left_alone() {
        for seed in 0..100 {
            let mut young = plan("--mode cluster", seed).take(RABBITMQ_KILLED).flat_map(|round| round.faults);
            assert!(young.all(|planned| {
                let closes = matches!(planned.fault, Fault::CloseConnections | Fault::CloseConnection { .. });
                planned.target != TargetId::RabbitMq || closes
            }));
        }
    }
}
