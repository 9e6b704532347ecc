//! What really happened in a run, as the ledgers below all faults saw it, and a readable history.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokenwire_core::{
    Attempt, Event, GenerationId, Seq, Timestamp,
    token_log::{Attempts, OnDisconnect, PRESENCE_TTL, WRITER_TIMEOUT},
};
use tokio::time::Instant;

/// A rule that a run may break: an invariant of the core, or a promise without a number.
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
    /// Readers see the log, regardless of the hints.
    I7,
    /// Accepted means durable.
    I9,
    /// Everything that was accepted ends, and every reader learns of it.
    I10,
    /// It ends for a reason of its own.
    I11,
    /// An attempt goes on exactly where the last one stopped.
    Continuation,
    /// A generation that was told to stop says no more, and no other one is stopped. One that waits ends at once.
    Stop,
    /// The job of a generation is stored again by one process at a time, and once a minute at most.
    Claims,
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
    /// Whether the log says of a damaged stream that it is damaged.
    pub(crate) tells_damage: bool,
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) streams: BTreeMap<GenerationId, Stream>,
    /// By name.
    pub(crate) workers: BTreeMap<String, Process>,
    pub(crate) violations: Vec<Violation>,
    history: String,
}

/// What happened to a worker.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) death: Option<(Moment, Death)>,
    /// It was told to give everything back.
    pub(crate) gives_back: bool,
    /// It stood still for a while.
    pub(crate) froze: bool,
}

/// What ended a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    Killed,
    /// It asked its model for this generation.
    Poisoned(GenerationId),
}

/// One generation.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and any of them may hold")]
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) exists: bool,
    pub(crate) on_disconnect: Option<OnDisconnect>,
    pub(crate) created: Moment,
    pub(crate) end_by: Option<Timestamp>,
    pub(crate) opens: Vec<Attempt>,
    pub(crate) attempts: BTreeMap<Attempt, Opened>,
    /// When the owner was last heard of, unless it has said that it goes.
    pub(crate) heard: Option<Moment>,
    /// The writer of the newest attempt is not there any more.
    pub(crate) given_up: bool,
    /// When an attempt was last opened.
    pub(crate) opened: Moment,
    /// When the attempt was opened that asked its model first.
    pub(crate) started: Option<Moment>,
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
    /// Those that the queue has lost.
    pub(crate) jobs_lost: usize,
    /// When the claim on storing its job was last given, and when its job was last stored.
    pub(crate) job_claimed: Option<Moment>,
    pub(crate) job_stored: Option<Moment>,
    /// When its data was lost.
    pub(crate) damaged: Option<Moment>,
    pub(crate) asked: Vec<Asked>,
}

/// One attempt.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and any of them may hold")]
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// Whose it is. Empty for a reader's, who only seals.
    pub(crate) worker: String,
    /// What the attempts before it came to.
    pub(crate) before: Attempts,
    /// It has noted that it asks its model.
    pub(crate) noted: bool,
    pub(crate) asked: bool,
    /// The model was busy or away.
    pub(crate) refused: bool,
    /// The model failed.
    pub(crate) broke: bool,
    /// It has noted that it ends, without an end of its generation.
    pub(crate) released: bool,
    /// When the next attempt was opened.
    pub(crate) deposed: Option<Moment>,
    /// The attempt before it was heard of a moment ago.
    pub(crate) deposed_owner: bool,
    /// And that was because its process stopped.
    pub(crate) given_back: bool,
}

impl Opened {
    /// Whether it costs its generation nothing: its model refused, or its process stopped, and that was noted.
    pub(crate) fn is_free(&self) -> bool {
        self.released && (self.given_back || self.refused && !self.broke)
    }
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
    pub(crate) fn begin(&mut self, on_disconnect: OnDisconnect, end_by: Timestamp, now: Moment) {
        *self = Self {
            name: std::mem::take(&mut self.name),
            created: now,
            end_by: Some(end_by),
            jobs_stored: self.jobs_stored,
            jobs_acked: self.jobs_acked,
            jobs_lost: self.jobs_lost,
            // Its creator stores its job.
            job_claimed: Some(now),
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
        self.heard = Some(now);
        if let Some(OnDisconnect::CancelAfter(grace)) = self.on_disconnect
            && now >= self.attended + PRESENCE_TTL + grace
        {
            self.found_alone.get_or_insert(now);
        }
    }

    /// Whether a job is stored and not acknowledged, as far as the queue has lost none.
    pub(crate) fn has_jobs_left(&self) -> bool {
        self.jobs_stored > self.jobs_acked + self.jobs_lost
    }

    /// Whether no worker has worked on it since then, and it has not ended.
    pub(crate) fn waits_since(&self, then: Moment) -> bool {
        let is_owned = self.heard.is_some_and(|heard| heard + WRITER_TIMEOUT >= then);
        self.exists && self.sealed.is_none() && !is_owned && self.opened < then
    }
}

impl Record {
    pub(crate) fn new(tells_damage: bool) -> Self {
        Self { began: Instant::now(), tells_damage, facts: Mutex::default() }
    }

    pub(crate) fn now(&self) -> Moment {
        self.began.elapsed()
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        // Nothing panics while it holds the lock.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose attempt that is.
    pub(crate) fn opened_by(&self, id: GenerationId, attempt: Attempt, worker: &str) {
        self.attempt(id, attempt, |opened| worker.clone_into(&mut opened.worker));
    }

    pub(crate) fn attempt(&self, id: GenerationId, attempt: Attempt, change: impl FnOnce(&mut Opened)) {
        let mut facts = self.facts();
        let opened = facts.streams.get_mut(&id).and_then(|stream| stream.attempts.get_mut(&attempt));
        if let Some(opened) = opened {
            change(opened);
        }
    }

    pub(crate) fn worker(&self, name: &str, change: impl FnOnce(&mut Process)) {
        change(self.facts().workers.entry(name.to_owned()).or_default());
    }

    /// When the stream was damaged.
    pub(crate) fn damaged(&self, id: GenerationId) -> Option<Moment> {
        self.facts().streams.get(&id).and_then(|stream| stream.damaged)
    }

    /// The model was busy or away.
    pub(crate) fn refused(&self, id: GenerationId, attempt: Option<Attempt>) {
        self.note(format_args!("{} is refused by its model", self.name(id)));
        if let Some(attempt) = attempt {
            self.attempt(id, attempt, |opened| opened.refused = true);
        }
    }

    /// The model failed, or has nothing more to say before its end.
    pub(crate) fn broke(&self, id: GenerationId, attempt: Option<Attempt>) {
        self.note(format_args!("{} loses its model", self.name(id)));
        if let Some(attempt) = attempt {
            self.attempt(id, attempt, |opened| opened.broke = true);
        }
    }

    pub(crate) fn dies(&self, name: &str, death: Death) {
        self.note(format_args!("{name} dies: {death:?}"));
        let now = self.now();
        self.worker(name, |worker| worker.death = Some((now, death)));
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
