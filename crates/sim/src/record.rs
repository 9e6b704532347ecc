//! What really happened in a run, as the ledgers below all faults saw it, and the history for people.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokenwire_core::{
    Attempt, Event, GenerationId, Seq,
    token_log::{ATTENDANCE, OnDisconnect},
};
use tokio::time::Instant;

/// What a run may break: an invariant of the core, or a promise that has no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Entries 1..=n, one terminal, the last; every piece of an answer once and in order.
    I1,
    /// Readers see what is durable, and what is durable stays.
    I2,
    /// The newest writer owns the stream.
    I3,
    /// The log counts attempts.
    I4,
    /// A job is acknowledged after its stream is sealed, and then it is.
    I5,
    /// The stream exists before the job.
    I6,
    /// Readers see the log, whatever woke them.
    I7,
    /// Accepted means durable.
    I9,
    /// Everything that was accepted ends, and every reader learns of it.
    I10,
    /// An attempt goes on exactly where the last one stopped.
    Continuation,
    /// A generation that was told to stop says no more, and no other one is stopped.
    Stop,
    /// A generation without readers is stopped after its grace, and not before.
    Audience,
}

/// One thing that must not happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What it breaks.
    pub rule: Rule,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// Since the run began.
pub(crate) type Moment = Duration;

/// Everything about a run. Shared by all that is in it.
#[derive(Debug)]
pub(crate) struct Record {
    began: Instant,
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) streams: BTreeMap<GenerationId, Stream>,
    pub(crate) violations: Vec<Violation>,
    history: String,
}

/// One generation.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) exists: bool,
    pub(crate) on_disconnect: Option<OnDisconnect>,
    pub(crate) opens: Vec<Attempt>,
    pub(crate) entries: Vec<(Seq, Event)>,
    /// Every append that was let in, empty ones too, with whether it had text.
    pub(crate) appends: Vec<(Moment, bool)>,
    /// The creation, or the last sign of a reader.
    pub(crate) attended: Moment,
    /// When the log was first used after the audience had gone.
    pub(crate) found_alone: Option<Moment>,
    pub(crate) cancelled: Option<Moment>,
    pub(crate) sealed: Option<Moment>,
    /// Whether a client was told that it is.
    pub(crate) accepted: bool,
    /// Whether a job was stored since the stream was created.
    pub(crate) has_job: bool,
    pub(crate) jobs_stored: usize,
    pub(crate) jobs_acked: usize,
    pub(crate) asked: Vec<Asked>,
}

/// One time that the model was asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) at: Moment,
    pub(crate) so_far: String,
    pub(crate) spoken: Vec<Moment>,
}

impl Stream {
    /// A stream that was removed and is created again begins anew; what was asked of the model was asked.
    pub(crate) fn begin(&mut self, on_disconnect: OnDisconnect, now: Moment) {
        *self = Self {
            name: std::mem::take(&mut self.name),
            jobs_stored: self.jobs_stored,
            jobs_acked: self.jobs_acked,
            accepted: self.accepted,
            asked: std::mem::take(&mut self.asked),
            exists: true,
            on_disconnect: Some(on_disconnect),
            attended: now,
            ..Self::default()
        };
    }

    /// A writer uses the log, which looks for the audience.
    pub(crate) fn used(&mut self, now: Moment) {
        if let Some(OnDisconnect::CancelAfter(grace)) = self.on_disconnect
            && now >= self.attended + ATTENDANCE + grace
        {
            self.found_alone.get_or_insert(now);
        }
    }
}

impl Default for Record {
    fn default() -> Self {
        Self { began: Instant::now(), facts: Mutex::default() }
    }
}

impl Record {
    pub(crate) fn now(&self) -> Moment {
        self.began.elapsed()
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        // Nothing panics while it holds the lock.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One line of the history.
    pub(crate) fn note(&self, what: impl fmt::Display) {
        let now = self.now().as_millis();
        let _ = writeln!(self.facts().history, "{:>4}.{:03} {what}", now / 1000, now % 1000);
    }

    /// One line of the history about a generation, after what it changes is written down.
    pub(crate) fn stream<T>(
        &self,
        id: GenerationId,
        what: impl fmt::Display,
        change: impl FnOnce(&mut Stream, Moment) -> T,
    ) -> T {
        let now = self.now();
        let (name, value) = {
            let mut facts = self.facts();
            let stream = facts.streams.entry(id).or_default();
            let value = change(stream, now);
            (stream.name.clone(), value)
        };
        self.note(format_args!("{name} {what}"));
        value
    }

    pub(crate) fn violation(&self, rule: Rule, what: impl fmt::Display) {
        let violation = Violation { rule, what: what.to_string() };
        self.note(format_args!("VIOLATION {violation}"));
        self.facts().violations.push(violation);
    }

    /// The same for one generation.
    pub(crate) fn violation_of(&self, id: GenerationId, rule: Rule, what: impl fmt::Display) {
        let name = self.name(id);
        self.violation(rule, format_args!("{name} {what}"));
    }

    pub(crate) fn name(&self, id: GenerationId) -> String {
        self.facts().streams.get(&id).map(|stream| stream.name.clone()).unwrap_or_default()
    }

    pub(crate) fn take_history(&self) -> String {
        std::mem::take(&mut self.facts().history)
    }
}
