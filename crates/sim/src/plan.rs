//! The plan of a run, drawn from its seed before it starts.

use std::time::Duration;

use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, ModelName, model::Continuation, token_log::OnDisconnect,
};

use crate::{
    clock::MOST_OFF,
    injector::{Rates, Service},
    rng::Rng,
};

/// When the faults end where none lasts for minutes, and how long after its end such a one is followed by others.
const CALM: Duration = Duration::from_secs(40);

/// After the faults have ended there are two workers or more: one slot for each is enough for every generation of a run,
/// after the waits that a failed attempt, a silent or busy model, a dead owner and a lost job bring along.
const ALL_ENDED_AFTER: Duration = Duration::from_secs(240);

/// When a stream that has no job must have expired for its readers: its time, the difference between clocks, one recheck.
const ALL_EXPIRED_AFTER: Duration = Duration::from_secs(120);

/// How long a model may be silent.
pub(crate) const STALL_TIME: Duration = Duration::from_secs(10);

/// How long a service is away when its outage is a long one: longer than a reader's patience of a minute.
const LONG: std::ops::RangeInclusive<u64> = 40_000..=200_000;

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) generations: Vec<Wanted>,
    /// When the faults end.
    pub(crate) calm: Duration,
    /// When everything that was accepted has ended.
    pub(crate) all_ended: Duration,
    /// When everything else has.
    pub(crate) all_expired: Duration,
    /// How long a job may wait, and a generation may run. As a rule so long that nothing that was accepted runs out of it,
    /// even where a clock went back and another forward.
    pub(crate) queue_time: Duration,
    pub(crate) run_time: Duration,
    /// How often the queue delivers a job before it gives up. None: for ever.
    pub(crate) delivery_limit: Option<u32>,
    /// What is away for minutes, from when, and for how long.
    pub(crate) long_outage: Option<(Service, Duration, Duration)>,
    pub(crate) workers: usize,
    pub(crate) slots: usize,
    pub(crate) attempts: u32,
    pub(crate) pending_bytes: usize,
    /// The time between two pieces of an answer.
    pub(crate) pace: Duration,
    /// The time before the first one.
    pub(crate) reading: Duration,
    pub(crate) words: usize,
    /// What happens to whole processes and services, and how often at least.
    pub(crate) faults: Vec<Fault>,
    pub(crate) quiet: u64,
}

/// Something that hits more than one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A worker's process ends without notice.
    Kill,
    /// A worker is asked to finish, and another one comes.
    Drain,
    /// Every worker is asked to finish, then to give back what runs, and others come: a deployment.
    Restart,
    /// A process stands still for a while.
    Freeze,
    /// A service is away for a while.
    Outage(Service),
    /// A clock jumps.
    Jump,
    /// What waits in the queue is gone.
    Purge,
    /// The queue is gone, and comes back empty.
    Delete,
    /// The log forgets who reads.
    ForgetReaders,
    /// A stream is overwritten.
    Damage,
}

/// What a request does to the models that are asked with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Nature {
    #[default]
    Ordinary,
    /// It kills the process, each time that the answer gets so far.
    Poison { after: usize },
    /// It is rejected.
    Unwelcome,
}

/// One generation that a client wants.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) id: GenerationId,
    pub(crate) request: GenerateRequest,
    pub(crate) nature: Nature,
    pub(crate) at: Duration,
    /// So long after the first submission the same one comes a second time, maybe through another API process.
    pub(crate) again_after: Option<Duration>,
    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) readers: Vec<Reading>,
    /// A client stops it so long after it was asked for.
    pub(crate) stopped_after: Option<Duration>,
}

/// One reader.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) name: String,
    pub(crate) manner: Manner,
}

/// How a reader behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Cuts itself, and always comes back.
    Stays,
    /// Goes for good at some time.
    Leaves,
}

impl Plan {
    pub(crate) fn draw(seed: u64, rng: &Rng) -> (Self, Rates) {
        let rates = Rates::draw(rng);
        let often = [
            Fault::Kill,
            Fault::Drain,
            Fault::Freeze,
            Fault::Outage(Service::Log),
            Fault::Outage(Service::Queue),
            Fault::Jump,
        ];
        let seldom = [
            Fault::Restart,
            Fault::Outage(Service::Commits),
            Fault::Outage(Service::Models),
            Fault::Purge,
            Fault::Delete,
            Fault::ForgetReaders,
            Fault::Damage,
        ];
        let often = often.into_iter().filter(|_| rng.happens(0.5)).collect::<Vec<_>>();
        let seldom = seldom.into_iter().filter(|_| rng.happens(0.2)).collect::<Vec<_>>();
        // Now and then one kind alone, so that it happens many times.
        let faults = if rng.happens(0.3) && !seldom.is_empty() {
            vec![seldom[rng.index(seldom.len())]]
        } else {
            [often, seldom].concat()
        };
        let words = 1 + rng.index(40);
        let is_poisonous = rng.happens(0.15);
        let generations = (1..=rng.number(2..=5)).map(|number| {
            let mut wanted = Wanted::draw(seed, number, rng);
            let (poison, after) = (rng.happens(0.4), rng.index(3).min(words - 1));
            if is_poisonous && poison {
                wanted.nature = Nature::Poison { after };
            }
            wanted
        });
        let generations = generations.collect();
        let is_long = rng.happens(0.12);
        let service = Service::ALL[rng.index(Service::ALL.len())];
        let (from, lasts) = (rng.millis(0..=20_000), rng.millis(LONG));
        let long_outage = is_long.then_some((service, from, lasts));
        let calm = if is_long { CALM + lasts } else { CALM };
        let all_ended = calm + ALL_ENDED_AFTER;
        let (queue_time, run_time) = if rng.happens(0.1) {
            (rng.millis(5000..=60_000), rng.millis(5000..=60_000))
        } else {
            (all_ended + Duration::from_secs(60), all_ended + Duration::from_secs(60))
        };
        let needs_broker = faults.contains(&Fault::Purge) || faults.contains(&Fault::Delete);
        let (has_limit, limit) = (rng.happens(0.3), u32::try_from(rng.number(1..=6)).unwrap_or(1));
        let plan = Self {
            generations,
            calm,
            all_ended,
            all_expired: all_ended.max(queue_time) + ALL_EXPIRED_AFTER,
            queue_time,
            run_time,
            delivery_limit: (has_limit || needs_broker).then_some(limit),
            long_outage,
            workers: 2 + rng.index(2),
            slots: 1 + rng.index(3),
            attempts: [3, 5, 5][rng.index(3)],
            pending_bytes: [100, 1000, 256 * 1024][rng.index(3)],
            pace: [Duration::ZERO, rng.millis(1..=40), rng.millis(40..=200)][rng.index(3)],
            reading: [Duration::ZERO, Duration::ZERO, rng.millis(100..=4000)][rng.index(3)],
            words,
            faults,
            quiet: rng.number(300..=6000),
        };
        (plan, rates)
    }

    /// Whether the log has no outage, and no process freezes.
    pub(crate) fn never_fails_the_log(&self) -> bool {
        let is_the_log = |service| matches!(service, Service::Log | Service::Commits);
        let is_long = self.long_outage.is_some_and(|(service, ..)| is_the_log(service));
        let is_short = self.faults.iter().any(|fault| match fault {
            Fault::Freeze => true,
            Fault::Outage(service) => is_the_log(*service),
            _ => false,
        });
        !is_long && !is_short
    }

    /// How far two clocks may differ.
    pub(crate) fn skew(&self) -> Duration {
        let jumps = self.faults.contains(&Fault::Jump);
        if jumps { Duration::from_millis(2 * MOST_OFF.unsigned_abs()) } else { Duration::ZERO }
    }
}

impl Wanted {
    fn draw(seed: u64, number: u64, rng: &Rng) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        let model =
            [Continuation::Exact, Continuation::Exact, Continuation::Resampled, Continuation::Unsupported];
        let model = name_of(model[rng.index(4)]);
        let prompt = ["Größe", "tell", "模型", "me\n", "more", "🌊"];
        let words: Vec<_> = (0..=rng.index(20)).map(|_| prompt[rng.index(prompt.len())]).collect();
        let prompt = Conversation::of(words.join(" ")).expect("not blank, and short");
        let cancel_after = OnDisconnect::CancelAfter(rng.millis(500..=6000));
        let readers = (0..=rng.index(3)).map(|index| Reading {
            name: format!("g{number}/{}", index + 1),
            manner: if rng.happens(0.3) { Manner::Leaves } else { Manner::Stays },
        });
        Self {
            name: format!("g{number}"),
            id: GenerationId::from_bytes(bytes),
            request: GenerateRequest::new(model, prompt),
            nature: if rng.happens(0.03) { Nature::Unwelcome } else { Nature::Ordinary },
            readers: readers.collect(),
            at: rng.millis(0..=15_000),
            again_after: rng.happens(0.3).then(|| rng.millis(0..=3000)),
            on_disconnect: if rng.happens(0.4) { cancel_after } else { OnDisconnect::Detached },
            stopped_after: rng.happens(0.2).then(|| rng.millis(0..=12_000)),
        }
    }
}

/// The catalogue has a model for each kind of continuation.
pub(crate) fn name_of(continuation: Continuation) -> ModelName {
    let name = match continuation {
        Continuation::Exact => "exact",
        Continuation::Resampled => "resampled",
        Continuation::Unsupported => "unsupported",
    };
    ModelName::new(name).expect("a plain word")
}
