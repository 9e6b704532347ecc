//! One stream in memory: the positions of its batches, its owner and its phase.
//!
//! A stream changes only by records, in the order of their commits, by the same functions at run time and when the log is
//! opened. They also fence (I3): a batch of an older writer that is committed after a newer opening is refused, each time
//! the log is opened.

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
    /// Without metadata and request, which are read from disk.
    pub(super) spec: StreamSpec,
    pub(super) metadata_bytes: usize,
    /// Fires when it is known whether the stream was created.
    pub(super) settled: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    life: Life,
    /// The position of its creation.
    created: Option<Position>,
    /// The position of its request.
    requested: Option<Position>,
    attempts: Attempts,
    claims: Claims,
    /// The newest durable attempt. 0 before the first.
    attempt: Attempt,
    /// The newest attempt that was begun.
    issued: Attempt,
    batches: Vec<Placed>,
    last_seq: Seq,
    sealed_at: Option<Timestamp>,
    cancel_requested: bool,
    present_at: Instant,
    /// When the owner was last heard of. `None` without an owner: before the first attempt, after a writer was dropped or
    /// released, and when the log is opened.
    heard_at: Option<Instant>,
    /// The cancellation of the newest attempt.
    cancellation: Cancellation,
    /// The segments with its records, oldest first.
    segments: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Its creation is not committed. It is not visible.
    Creating,
    Kept,
    Gone,
}

/// The position of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) first: Seq,
    pub(super) at: Position,
}

/// A committed batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommittedBatch {
    pub(super) attempt: Attempt,
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// When it sealed the stream, if it did.
    pub(super) sealed_at: Option<Timestamp>,
}

/// The batches for a reader, and the state of the stream.
#[derive(Debug)]
pub(super) struct View {
    pub(super) batches: Vec<Placed>,
    pub(super) last_seq: Seq,
    pub(super) phase: Phase,
}

/// Why a committed record has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Gone,
    Sealed,
    Fenced,
    /// It does not follow the last entry: something before it was lost.
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
            present_at: Instant::now(),
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
        state.present_at = Instant::now();
        state.lies_in(at);
        drop(state);
        self.settled.cancel();
    }

    /// The record of its caller is committed.
    pub(super) fn named(&self, at: Position) {
        self.lock().lies_in(at);
    }

    /// The request is committed.
    pub(super) fn requested(&self, at: Position) {
        let mut state = self.lock();
        state.lies_in(at);
        state.requested = Some(at);
    }

    /// The state of the attempts is committed.
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

    /// A newer attempt is committed and owns the stream.
    pub(super) fn opened(&self, attempt: Attempt, at: Position) -> Result<(Cancellation, View), Refused> {
        let mut state = self.lock();
        state.lies_in(at);
        state.writable()?;
        if attempt <= state.attempt {
            return Err(Refused::Fenced);
        }
        state.own(attempt);
        state.cancellation = Cancellation::default();
        self.check_readers(&state);
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
        // Higher only when the record of its opening was damaged: no later attempt may get its number.
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

    /// The number of the next attempt.
    pub(super) fn next_attempt(&self) -> Result<Attempt, LogError> {
        let mut state = self.lock();
        state.writable().map_err(|refused| self.error(refused))?;
        state.issued = Attempt::new(state.issued.get() + 1);
        Ok(state.issued)
    }

    /// Makes the caller the owner if there is none. It opens the stream next.
    pub(super) fn take_over(&self) -> Result<(), LogError> {
        let mut state = self.lock();
        state.writable().map_err(|refused| self.error(refused))?;
        if state.heard_at.is_some_and(|at| at.elapsed() < WRITER_TIMEOUT) {
            return Err(LogError::Fenced);
        }
        state.heard_at = Some(Instant::now());
        Ok(())
    }

    /// Whether this attempt may append now. Also fires its cancellation, if needed.
    pub(super) fn check(&self, attempt: Attempt) -> Result<(), LogError> {
        let mut state = self.lock();
        state.writable().map_err(|refused| self.error(refused))?;
        if attempt < state.attempt {
            return Err(LogError::Fenced);
        }
        state.heard_at = Some(Instant::now());
        self.check_readers(&state);
        Ok(())
    }

    /// The batches with up to `limit` entries after the cursor. The first and the last may have more.
    pub(super) fn view(&self, after: Seq, limit: usize) -> Result<View, LogError> {
        let state = self.lock();
        if state.life != Life::Kept {
            return Err(LogError::NotFound(self.id));
        }
        let mut batches = Vec::new();
        if after < state.last_seq {
            let end = Seq::new(after.get().saturating_add(limit as u64));
            // The batch before it may reach beyond the cursor.
            let from = state.batches.partition_point(|batch| batch.first <= after.next()).saturating_sub(1);
            let wanted = state.batches.get(from..).unwrap_or_default();
            batches.extend(wanted.iter().take_while(|batch| batch.first <= end));
        }
        Ok(View { batches, last_seq: state.last_seq, phase: self.phase_of(&state) })
    }

    /// The position of its metadata, if any: the record of its creation.
    pub(super) fn metadata(&self) -> Option<Position> {
        self.lock().created.filter(|_| self.metadata_bytes > 0)
    }

    /// The position of its request, if any, until the seal.
    pub(super) fn request(&self) -> Option<Position> {
        let state = self.lock();
        state.requested.filter(|_| state.sealed_at.is_none())
    }

    /// The state of the attempts.
    pub(super) fn attempts(&self) -> Attempts {
        self.lock().attempts
    }

    /// The claim on storing its job.
    pub(super) fn with_claims<T>(&self, change: impl FnOnce(&mut Claims) -> T) -> T {
        change(&mut self.lock().claims)
    }

    /// The newest attempt and the phase.
    pub(super) fn standing(&self) -> (Attempt, Phase) {
        let state = self.lock();
        (state.attempt, self.phase_of(&state))
    }

    /// The writer of this attempt is alive.
    pub(super) fn heard_of(&self, attempt: Attempt) {
        let mut state = self.lock();
        if state.attempt == attempt {
            state.heard_at = Some(Instant::now());
        }
    }

    /// The writer of this attempt was dropped.
    pub(super) fn given_up(&self, attempt: Attempt) {
        let mut state = self.lock();
        // Not while the next attempt opens the stream.
        if state.attempt == attempt && state.issued == attempt {
            state.heard_at = None;
        }
    }

    pub(super) fn touch_presence(&self) {
        self.lock().present_at = Instant::now();
    }

    /// Whether a request to stop has an effect.
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

    /// The retention time counts from here: the seal, or `end_by`.
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
            // The batches of a live writer are consecutive, so a gap means that another writer was there.
            Refused::Fenced | Refused::Gap { .. } => LogError::Fenced,
        }
    }

    fn check_readers(&self, state: &State) {
        if state.cancel_requested {
            state.cancellation.cancel(CancelCause::Requested);
        }
        if let OnDisconnect::CancelAfter(grace) = self.spec.on_disconnect
            && state.present_at.elapsed() >= PRESENCE_TTL.saturating_add(grace)
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
        // Nothing panics while it holds the lock.
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
