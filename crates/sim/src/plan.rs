//! What a run consists of, drawn from its seed before it begins.

use std::time::Duration;

use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, ModelName, model::Continuation, token_log::OnDisconnect,
};

use crate::{
    chance::Chance,
    weather::{Rates, Service},
};

/// When the faults end. Everything that was accepted has to end before [`ALL_ENDED`].
pub(crate) const CALM: Duration = Duration::from_secs(40);

/// From the calm on there are two workers and no faults: one slot for each is enough for every generation of a run, after
/// the waits that a failed attempt, a silent model and a dead owner bring along.
pub(crate) const ALL_ENDED: Duration = Duration::from_secs(180);

/// How long a job may wait. So long that nothing that was accepted expires before [`ALL_ENDED`], even where a clock went
/// back and another forward.
pub(crate) const QUEUE_TIME: Duration = Duration::from_secs(240);

/// As long, for the same reason.
pub(crate) const RUN_TIME: Duration = Duration::from_secs(240);

/// When a stream that has no job must have expired for its readers: its time, the difference between clocks, one recheck.
pub(crate) const ALL_EXPIRED: Duration = Duration::from_secs(360);

/// How long a model may be silent.
pub(crate) const STALL_TIME: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) generations: Vec<Wanted>,
    pub(crate) workers: usize,
    pub(crate) slots: usize,
    pub(crate) attempts: u32,
    pub(crate) pending_bytes: usize,
    /// The time between two pieces of an answer.
    pub(crate) pace: Duration,
    pub(crate) words: usize,
    /// What happens to whole processes and services, and how often at least.
    pub(crate) blows: Vec<Blow>,
    pub(crate) quiet: u64,
}

/// Something that hits more than one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// A worker's process ends, without a word.
    Kill,
    /// A worker is asked to finish, and another one comes.
    Drain,
    /// A process stands still for a while.
    Freeze,
    /// A service is away for a while.
    Outage(Service),
    /// A clock jumps.
    Jump,
}

/// One generation that a client wants.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) id: GenerationId,
    pub(crate) request: GenerateRequest,
    pub(crate) at: Duration,
    /// So long after the first submission the same one comes a second time, through another door maybe.
    pub(crate) again_after: Option<Duration>,
    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) readers: Vec<Reading>,
    /// So long after it was asked for, somebody stops it.
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
    pub(crate) fn draw(seed: u64, chance: &Chance) -> (Self, Rates) {
        let rates = Rates::draw(chance);
        let blows = [
            Blow::Kill,
            Blow::Drain,
            Blow::Freeze,
            Blow::Outage(Service::Log),
            Blow::Outage(Service::Queue),
            Blow::Jump,
        ];
        let blows = blows.into_iter().filter(|_| chance.happens(0.5)).collect();
        let generations =
            (1..=chance.number(2..=5)).map(|number| Wanted::draw(seed, number, chance)).collect();
        let plan = Self {
            generations,
            workers: 2 + chance.index(2),
            slots: 1 + chance.index(3),
            attempts: [3, 8, 40][chance.index(3)],
            pending_bytes: [100, 1000, 256 * 1024][chance.index(3)],
            pace: [Duration::ZERO, chance.millis(1..=40), chance.millis(40..=200)][chance.index(3)],
            words: 1 + chance.index(40),
            blows,
            quiet: chance.number(300..=6000),
        };
        (plan, rates)
    }
}

impl Wanted {
    fn draw(seed: u64, number: u64, chance: &Chance) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        let model =
            [Continuation::Exact, Continuation::Exact, Continuation::Resampled, Continuation::Unsupported];
        let model = name_of(model[chance.index(4)]);
        let prompt = ["Größe", "tell", "模型", "me\n", "more", "🌊"];
        let words: Vec<_> = (0..=chance.index(20)).map(|_| prompt[chance.index(prompt.len())]).collect();
        let prompt = Conversation::of(words.join(" ")).expect("not blank, and short");
        let cancel_after = OnDisconnect::CancelAfter(chance.millis(500..=6000));
        let readers = (0..=chance.index(3)).map(|index| Reading {
            name: format!("g{number}/{}", index + 1),
            manner: if chance.happens(0.3) { Manner::Leaves } else { Manner::Stays },
        });
        Self {
            name: format!("g{number}"),
            id: GenerationId::from_bytes(bytes),
            request: GenerateRequest::new(model, prompt),
            readers: readers.collect(),
            at: chance.millis(0..=15_000),
            again_after: chance.happens(0.3).then(|| chance.millis(0..=3000)),
            on_disconnect: if chance.happens(0.4) { cancel_after } else { OnDisconnect::Detached },
            stopped_after: chance.happens(0.2).then(|| chance.millis(0..=12_000)),
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
