//! One stream in memory: where its batches lie, who may write, and how it stands.
//!
//! A stream changes only by records, in the order in which the journal committed them, and by the same functions whether the
//! log runs or is being opened. Fencing is decided there (I3): what an older writer had on the way when a newer one opened
//! comes after the opening in the journal, is refused when it is committed, and refused again whenever the log is opened.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use journal::Position;
use tokenwire_core::{
    Attempt, CancelCause, GenerationId, LogError, Seq, Timestamp,
    token_log::{
        Attempts, Cancellation, OnDisconnect, Ownership, PRESENCE_TTL, Phase, StreamSpec, WRITER_TIMEOUT,
    },
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::records::StreamNumber;
use crate::claims::Claims;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: GenerationId,
    pub(super) number: StreamNumber,
    /// Without its metadata, which is read from the disk when somebody asks for it.
    pub(super) spec: StreamSpec,
    pub(super) metadata_bytes: usize,
    /// Fires once it is known whether the stream was created.
    pub(super) settled: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    life: Life,
    /// Where the record of its creation lies.
    created: Option<Position>,
    /// Where its request lies.
    requested: Option<Position>,
    attempts: Attempts,
    claims: Claims,
    /// The newest durable opening; 0 before the first.
    attempt: Attempt,
    /// The newest opening that was begun.
    issued: Attempt,
    batches: Vec<Placed>,
    last_seq: Seq,
    sealed_at: Option<Timestamp>,
    cancel_requested: bool,
    attended: Instant,
    /// When the owner was last heard of. None while there is none: before the first opening, after a writer was given up,
    /// and when the log is opened.
    heard_at: Option<Instant>,
    /// Of the newest attempt.
    cancellation: Cancellation,
    /// Where its records lie, oldest first.
    segments: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Its record is on the way: nobody may see it.
    Creating,
    Kept,
    Gone,
}

/// Where a batch lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) first: Seq,
    pub(super) at: Position,
}

/// A batch that was committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommittedBatch {
    pub(super) attempt: Attempt,
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// When the stream was sealed by it.
    pub(super) sealed_at: Option<Timestamp>,
}

/// What a reader gets to read, and how the stream stood at that instant.
#[derive(Debug)]
pub(super) struct View {
    pub(super) batches: Vec<Placed>,
    pub(super) last_seq: Seq,
    pub(super) phase: Phase,
}

/// Why a committed record changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Gone,
    Sealed,
    Fenced,
    /// It does not follow the last seq: something before it was lost.
    Gap {
        last_seq: Seq,
    },
}

impl Stream {
    pub(super) fn creating(
        id: GenerationId,
        number: StreamNumber,
        spec: StreamSpec,
        metadata_bytes: usize,
    ) -> Self {
        let state = State {
            life: Life::Creating,
            created: None,
            requested: None,
            attempts: Attempts::default(),
            claims: Claims::of_creator(),
            attempt: Attempt::new(0),
            issued: Attempt::new(0),
            batches: Vec::new(),
            last_seq: Seq::START,
            sealed_at: None,
            cancel_requested: false,
            attended: Instant::now(),
            heard_at: None,
            cancellation: Cancellation::default(),
            segments: Vec::new(),
        };
        let settled = CancellationToken::new();
        Self { id, number, spec, metadata_bytes, settled, state: Mutex::new(state) }
    }

    // Changes by committed records.

    pub(super) fn created(&self, at: Position) {
        let mut state = self.lock();
        state.life = Life::Kept;
        state.created = Some(at);
        state.attended = Instant::now();
        state.lies_in(at);
        drop(state);
        self.settled.cancel();
    }

    /// The record of its caller lies here.
    pub(super) fn named(&self, at: Position) {
        self.lock().lies_in(at);
    }

    /// Its request lies here.
    pub(super) fn requested(&self, at: Position) {
        let mut state = self.lock();
        state.lies_in(at);
        state.requested = Some(at);
    }

    /// What the attempts came to, as this one says it.
    pub(super) fn recorded(
        &self,
        attempt: Attempt,
        attempts: Attempts,
        ownership: Ownership,
        at: Position,
    ) -> Result<(), Refused> {
        let mut state = self.lock();
        state.lies_in(at);
        state.writable()?;
        if attempt < state.attempt {
            return Err(Refused::Fenced);
        }
        state.attempts = attempts;
        if ownership == Ownership::Released {
            state.heard_at = None;
        }
        Ok(())
    }

    pub(super) fn gone(&self) {
        self.lock().life = Life::Gone;
        self.settled.cancel();
    }

    /// A newer attempt owns the stream from here on. Gives what it needs to go on.
    pub(super) fn opened(&self, attempt: Attempt, at: Position) -> Result<(Cancellation, View), Refused> {
        let mut state = self.lock();
        state.lies_in(at);
        state.writable()?;
        if attempt <= state.attempt {
            return Err(Refused::Fenced);
        }
        state.own(attempt);
        state.cancellation = Cancellation::default();
        self.check_audience(&state);
        let view =
            View { batches: state.batches.clone(), last_seq: state.last_seq, phase: self.phase_of(&state) };
        Ok((state.cancellation.clone(), view))
    }

    pub(super) fn appended(&self, batch: CommittedBatch, at: Position) -> Result<(), Refused> {
        let mut state = self.lock();
        state.lies_in(at);
        state.writable()?;
        if batch.attempt < state.attempt {
            return Err(Refused::Fenced);
        }
        // Higher only when damage took the record of its opening: no later one may get its number.
        state.own(batch.attempt);
        if batch.first != state.last_seq.next() {
            return Err(Refused::Gap { last_seq: state.last_seq });
        }
        state.batches.push(Placed { first: batch.first, at });
        state.last_seq = batch.last;
        if batch.sealed_at.is_some() {
            state.sealed_at = batch.sealed_at;
            state.batches.shrink_to_fit();
        }
        Ok(())
    }

    pub(super) fn cancelled(&self, at: Position) {
        let mut state = self.lock();
        state.lies_in(at);
        state.cancel_requested = true;
        if state.sealed_at.is_none() {
            state.cancellation.cancel(CancelCause::Requested);
        }
    }

    // Questions.

    /// A number for the next opening.
    pub(super) fn next_attempt(&self) -> Result<Attempt, LogError> {
        let mut state = self.lock();
        state.writable().map_err(|refused| self.error(refused))?;
        state.issued = Attempt::new(state.issued.get() + 1);
        Ok(state.issued)
    }

    /// Makes the caller the owner, where there is none: it opens the stream next.
    pub(super) fn take_over(&self) -> Result<(), LogError> {
        let mut state = self.lock();
        state.writable().map_err(|refused| self.error(refused))?;
        if state.heard_at.is_some_and(|at| at.elapsed() < WRITER_TIMEOUT) {
            return Err(LogError::Fenced);
        }
        state.heard_at = Some(Instant::now());
        Ok(())
    }

    /// Whether this attempt may append now; and tells it to stop, should it have to.
    pub(super) fn check(&self, attempt: Attempt) -> Result<(), LogError> {
        let mut state = self.lock();
        state.writable().map_err(|refused| self.error(refused))?;
        if attempt < state.attempt {
            return Err(LogError::Fenced);
        }
        state.heard_at = Some(Instant::now());
        self.check_audience(&state);
        Ok(())
    }

    /// Up to `limit` entries after the cursor, as the batches that hold them; the first and the last may hold more.
    pub(super) fn view(&self, after: Seq, limit: usize) -> Result<View, LogError> {
        let state = self.lock();
        if state.life != Life::Kept {
            return Err(LogError::NotFound(self.id));
        }
        let mut batches = Vec::new();
        if after < state.last_seq {
            let end = Seq::new(after.get().saturating_add(limit as u64));
            // The batch before the first one that begins behind the cursor's next may reach over it.
            let from = state.batches.partition_point(|batch| batch.first <= after.next()).saturating_sub(1);
            let wanted = state.batches.get(from..).unwrap_or_default();
            batches.extend(wanted.iter().take_while(|batch| batch.first <= end));
        }
        Ok(View { batches, last_seq: state.last_seq, phase: self.phase_of(&state) })
    }

    /// Where its metadata lies: in the record of its creation, where there is one.
    pub(super) fn metadata(&self) -> Option<Position> {
        self.lock().created.filter(|_| self.metadata_bytes > 0)
    }

    /// Where its request lies: until it is sealed, where there is one.
    pub(super) fn request(&self) -> Option<Position> {
        let state = self.lock();
        state.requested.filter(|_| state.sealed_at.is_none())
    }

    /// What the attempts came to.
    pub(super) fn attempts(&self) -> Attempts {
        self.lock().attempts
    }

    /// The claim on storing its job.
    pub(super) fn with_claims<T>(&self, change: impl FnOnce(&mut Claims) -> T) -> T {
        change(&mut self.lock().claims)
    }

    /// The newest attempt, and how the stream stands.
    pub(super) fn standing(&self) -> (Attempt, Phase) {
        let state = self.lock();
        (state.attempt, self.phase_of(&state))
    }

    /// This attempt has a writer that lives.
    pub(super) fn heard_of(&self, attempt: Attempt) {
        let mut state = self.lock();
        if state.attempt == attempt {
            state.heard_at = Some(Instant::now());
        }
    }

    /// Nobody has to wait for this attempt any more.
    pub(super) fn given_up(&self, attempt: Attempt) {
        let mut state = self.lock();
        // Not while the next one opens the stream.
        if state.attempt == attempt && state.issued == attempt {
            state.heard_at = None;
        }
    }

    pub(super) fn touch_presence(&self) {
        self.lock().attended = Instant::now();
    }

    /// Whether there is anything left that could be told to stop.
    pub(super) fn wants_cancel(&self) -> Result<bool, LogError> {
        let state = self.lock();
        match state.life {
            Life::Kept => Ok(state.sealed_at.is_none() && !state.cancel_requested),
            Life::Creating | Life::Gone => Err(LogError::NotFound(self.id)),
        }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.lock().life == Life::Kept
    }

    /// When the stream may be forgotten counts from here: its seal, or when it should have had one.
    pub(super) fn ended_at(&self) -> Timestamp {
        self.lock().sealed_at.unwrap_or(self.spec.end_by)
    }

    pub(super) fn segments(&self) -> Vec<u64> {
        self.lock().segments.clone()
    }

    pub(super) fn error(&self, refused: Refused) -> LogError {
        match refused {
            Refused::Gone => LogError::NotFound(self.id),
            Refused::Sealed => LogError::Sealed,
            // A running writer's batches follow each other, so a gap means that somebody else has written.
            Refused::Fenced | Refused::Gap { .. } => LogError::Fenced,
        }
    }

    fn check_audience(&self, state: &State) {
        if state.cancel_requested {
            state.cancellation.cancel(CancelCause::Requested);
        }
        if let OnDisconnect::CancelAfter(grace) = self.spec.on_disconnect
            && state.attended.elapsed() >= PRESENCE_TTL.saturating_add(grace)
        {
            state.cancellation.cancel(CancelCause::Abandoned);
        }
    }

    fn phase_of(&self, state: &State) -> Phase {
        let StreamSpec { created_at, start_by, end_by, .. } = self.spec;
        match (state.sealed_at, state.attempt.get()) {
            (Some(_), _) => Phase::Sealed,
            (None, 0) => Phase::Queued { created_at, start_by },
            (None, _) => {
                let silent_for = state.heard_at.map_or(Duration::MAX, |at| at.elapsed());
                let waiting_until = state.attempts.waiting_until;
                Phase::Running { end_by, silent_for, waiting_until }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn writable(&self) -> Result<(), Refused> {
        match (self.life, self.sealed_at) {
            (Life::Creating | Life::Gone, _) => Err(Refused::Gone),
            (Life::Kept, Some(_)) => Err(Refused::Sealed),
            (Life::Kept, None) => Ok(()),
        }
    }

    fn own(&mut self, attempt: Attempt) {
        self.attempt = attempt;
        self.issued = self.issued.max(attempt);
    }

    fn lies_in(&mut self, at: Position) {
        if self.segments.last() != Some(&at.segment) {
            self.segments.push(at.segment);
        }
    }
}
