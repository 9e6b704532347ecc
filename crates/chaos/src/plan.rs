//! What will happen, round by round: who asks and reads how, and what is hurt when.
//!
//! All of it follows from the seed. What does not is how it meets the system: instants are counted from the beginning of
//! a round, and the system takes its own time.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::args::Mode;

/// The roles of the cluster's processes, in the order of [`Target::Process`]. Each has a link to each server.
pub(crate) const CLUSTER: [Role; 5] = [Role::Api, Role::Api, Role::Worker, Role::Worker, Role::Worker];

/// RabbitMQ takes ten seconds to come back, and 3.10 forgets a queue that is less than half a second old when it is killed:
/// never in the first rounds, and then rarely. In which rounds of so many it is hurt, and how.
const RABBITMQ_EVERY: usize = 40;
const RABBITMQ_KILLED: usize = 8;
const RABBITMQ_FROZEN: usize = 28;

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
    pub(crate) faults: Vec<Blow>,
}

/// One generation and everybody who has to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub(crate) at: Duration,
    pub(crate) query: String,
    pub(crate) asker: Asker,
    pub(crate) others: Vec<Other>,
    /// Of the readers' own choices: where they are cut, which replica they ask.
    pub(crate) seed: u64,
}

/// What the one who asked does after that.
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

/// One fault, and who suffers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blow {
    pub(crate) at: Duration,
    pub(crate) target: Target,
    pub(crate) fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Process(usize),
    /// From a process to its Redis.
    RedisLink(usize),
    /// From a process to its RabbitMQ.
    RabbitMqLink(usize),
    Redis,
    RabbitMq,
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
    /// Every connection is reset.
    Cut,
    /// The connection that carries the last of so many bytes is reset.
    CutAfter { bytes: usize, lasts: Duration },
    /// Every connection reads an end.
    HalfClose,
    /// Every connection is reset, and new ones are, for this time.
    Unreachable { lasts: Duration },
    /// Nothing passes for this time, and nobody is told.
    BlackHole { lasts: Duration },
    /// Everything passes later for a time.
    Delay { by: Duration, lasts: Duration },
}

impl Fault {
    /// As the table calls it.
    pub(crate) fn kind(self, target: Target) -> &'static str {
        match (self, target) {
            (Self::Kill { .. }, Target::Redis) => "Redis kill -9 and restart",
            (Self::Kill { .. }, Target::RabbitMq) => "RabbitMQ kill -9 and restart",
            (Self::Kill { .. }, _) => "kill -9 and restart",
            (Self::KillTwice { .. }, _) => "kill -9 twice, the second in recovery",
            (Self::Freeze { .. }, Target::Redis) => "Redis SIGSTOP and SIGCONT",
            (Self::Freeze { .. }, Target::RabbitMq) => "RabbitMQ SIGSTOP and SIGCONT",
            (Self::Freeze { .. }, _) => "SIGSTOP and SIGCONT",
            (Self::Drain, _) => "SIGTERM and restart",
            (Self::DrainHastily { .. }, _) => "SIGTERM twice and restart",
            (Self::Cut, _) => "TCP cut",
            (Self::CutAfter { .. }, _) => "TCP cut after some bytes",
            (Self::HalfClose, _) => "TCP half close",
            (Self::Unreachable { .. }, _) => "TCP refused",
            (Self::BlackHole { .. }, _) => "TCP black hole",
            (Self::Delay { .. }, _) => "TCP delay",
        }
    }
}

/// The rounds of one seed, without end.
#[derive(Debug)]
pub(crate) struct Plan {
    dice: StdRng,
    mode: Mode,
    seed: u64,
    round: usize,
}

impl Plan {
    pub(crate) fn new(mode: Mode, seed: u64) -> Self {
        Self { dice: StdRng::seed_from_u64(seed), mode, seed, round: 0 }
    }

    fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.dice.random_range(from..=to))
    }

    /// Under this many of a hundred.
    fn weigh(&mut self) -> u32 {
        self.dice.random_range(0..100)
    }

    fn prompt(&mut self, index: usize, at: Duration) -> Prompt {
        let asker = match self.weigh() {
            0..70 => Asker::Stays,
            70..84 => Asker::Stops { after: self.ms(0, 3000) },
            _ => Asker::Leaves { after: self.dice.random_range(0..4000) },
        };
        let others = match asker {
            Asker::Leaves { .. } => 0,
            Asker::Stays | Asker::Stops { .. } => self.dice.random_range(0..=3),
        };
        let others = (0..others).map(|_| self.other()).collect();
        let query = format!("What happened in round {} of seed {}, question {index}?", self.round, self.seed);
        Prompt { at, query, asker, others, seed: self.dice.random() }
    }

    fn other(&mut self) -> Other {
        match self.weigh() {
            0..40 => Other { joins: Joins::Repeating, after: self.ms(0, 400) },
            40..70 => Other { joins: Joins::Start, after: self.ms(0, 6000) },
            _ => Other { joins: Joins::Cursor, after: self.ms(0, 4000) },
        }
    }

    fn embedded(&mut self) -> Vec<(Target, Fault)> {
        let count = if self.weigh() < 30 { 2 } else { 1 };
        (0..count).map(|_| (Target::Process(0), self.blow(Duration::from_millis(300)))).collect()
    }

    /// To a process. It is down for at most so long.
    fn blow(&mut self, down: Duration) -> Fault {
        let down = self.dice.random_range(Duration::ZERO..=down);
        match self.weigh() {
            0..45 => Fault::Kill { down },
            45..57 => Fault::KillTwice { down, again: self.ms(0, 200) },
            57..72 => Fault::Freeze { lasts: self.ms(100, 2500) },
            72..90 => Fault::Drain,
            _ => Fault::DrainHastily { again: self.ms(0, 100) },
        }
    }

    fn cluster(&mut self) -> Vec<(Target, Fault)> {
        let count = self.dice.random_range(1..=3);
        let mut faults: Vec<_> = (0..count).map(|_| self.somewhere()).collect();
        match self.round % RABBITMQ_EVERY {
            RABBITMQ_KILLED => {
                faults.push((Target::RabbitMq, Fault::Kill { down: self.ms(0, 1000) }));
            }
            RABBITMQ_FROZEN => faults.push((Target::RabbitMq, Fault::Freeze { lasts: self.ms(500, 5000) })),
            _ => {}
        }
        faults
    }

    fn somewhere(&mut self) -> (Target, Fault) {
        match self.weigh() {
            0..35 => {
                let worker = Target::Process(self.dice.random_range(2..CLUSTER.len()));
                // Longer than a worker may be silent before it is replaced.
                let frozen = Fault::Freeze { lasts: self.ms(1600, 4000) };
                let blow = self.blow(Duration::from_secs(1));
                (worker, if matches!(blow, Fault::Freeze { .. }) { frozen } else { blow })
            }
            35..55 => (Target::Process(self.dice.random_range(0..2)), self.blow(Duration::from_secs(1))),
            55..61 => (Target::Redis, Fault::Kill { down: self.ms(0, 2500) }),
            61..65 => (Target::Redis, Fault::Freeze { lasts: self.ms(200, 3000) }),
            _ => {
                let process = self.dice.random_range(0..CLUSTER.len());
                let redis = self.dice.random_bool(0.6);
                (
                    if redis { Target::RedisLink(process) } else { Target::RabbitMqLink(process) },
                    self.disturbance(),
                )
            }
        }
    }

    fn disturbance(&mut self) -> Fault {
        match self.weigh() {
            0..25 => Fault::Cut,
            25..40 => Fault::CutAfter { bytes: self.dice.random_range(0..5000), lasts: self.ms(500, 2000) },
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
        let (length, prompts) = match self.mode {
            Mode::Embedded => (self.ms(800, 2000), 2..=4),
            Mode::Cluster => (self.ms(1200, 2800), 3..=6),
        };
        let prompts = (0..self.dice.random_range(prompts))
            .map(|index| {
                let at = self.dice.random_range(Duration::ZERO..length);
                self.prompt(index, at)
            })
            .collect();
        let faults = match self.mode {
            Mode::Embedded => self.embedded(),
            Mode::Cluster => self.cluster(),
        };
        let faults = faults
            .into_iter()
            .map(|(target, fault)| Blow { at: self.dice.random_range(Duration::ZERO..length), target, fault })
            .collect();
        self.round += 1;
        Some(Round { length, prompts, faults })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn one_seed_is_one_plan() {
        for mode in [Mode::Embedded, Mode::Cluster] {
            let plan = |seed| Plan::new(mode, seed).take(300).collect::<Vec<_>>();
            assert_eq!(plan(7), plan(7));
            assert_ne!(plan(7), plan(8));
        }
    }

    #[test]
    fn three_hundred_rounds_hurt_everybody_in_every_way() {
        let kinds: BTreeSet<_> = Plan::new(Mode::Cluster, 1)
            .take(300)
            .flat_map(|round| round.faults)
            .map(|blow| blow.fault.kind(blow.target))
            .collect();
        assert_eq!(kinds.len(), 15, "{kinds:?}");
    }

    #[test]
    fn a_young_queue_is_left_alone() {
        for seed in 0..100 {
            let mut young =
                Plan::new(Mode::Cluster, seed).take(RABBITMQ_KILLED).flat_map(|round| round.faults);
            assert!(young.all(|blow| blow.target != Target::RabbitMq));
        }
    }
}
