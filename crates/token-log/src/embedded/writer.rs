//! The writer of one stream.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use journal::Position;
use tokenwire_core::{
    Attempt, Entry, Event, LogError, LogWriter, Seq, Timestamp,
    token_log::{Attempts, Cancellation, Hint, Ownership, Prefix},
};
use tokio::sync::oneshot;

use super::{
    Shared,
    records::{Appended, Change, Record},
    stream::{self, Stream},
};
use crate::record::Batch;

pub(super) struct EmbeddedWriter {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    attempt: Attempt,
    cancellation: Cancellation,
    so_far: Prefix,
    attempts: Attempts,
    /// The last entry that is known to be in the stream.
    last_seq: Seq,
    /// A batch of unknown outcome: its future was dropped, or it was submitted.
    unsettled: Option<Unsettled>,
}

struct Unsettled {
    entries: Arc<[Entry]>,
    outcome: oneshot::Receiver<Result<(), LogError>>,
}

impl EmbeddedWriter {
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: Arc<Stream>,
        attempt: Attempt,
        cancellation: Cancellation,
        so_far: Prefix,
        last_seq: Seq,
    ) -> Self {
        stream.heard_of(attempt);
        let attempts = stream.attempts();
        Self { shared, stream, attempt, cancellation, so_far, attempts, last_seq, unsettled: None }
    }

    /// Submits events, unless they are a repetition of an append that was dropped and has succeeded. Can be dropped at
    /// every await: a submitted batch is remembered until its outcome is known.
    async fn submit_once(&mut self, events: &[Event]) -> Result<(), LogError> {
        if let Some(before) = &self.unsettled {
            let again = before.entries.iter().map(|entry| &entry.event).eq(events);
            match self.outcome().await {
                Ok(_) if again => return Ok(()),
                // The earlier batch succeeded and this is another one, or it failed and can be tried again.
                Ok(_) | Err(LogError::Unavailable(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.stream.check(self.attempt)?;
        if events.is_empty() { Ok(()) } else { self.send(events).await }
    }

    async fn send(&mut self, events: &[Event]) -> Result<(), LogError> {
        let at = self.shared.clock.now();
        let first = self.last_seq.next();
        let batch = Batch { first, at, events: events.to_vec() };
        let ends = events.last().is_some_and(Event::is_terminal);
        let appended = Appended {
            attempt: self.attempt,
            first,
            count: u32::try_from(events.len()).map_err(LogError::unavailable)?,
            ends,
            entries: &batch.encode(),
        };
        let payload = Record { stream: self.stream.number, change: Change::Appended(appended) }.encode();
        let entries: Arc<[Entry]> = batch.into_entries().collect();
        let last = self.last_seq.plus(entries.len());
        let placed =
            stream::CommittedBatch { attempt: self.attempt, first, last, sealed_at: ends.then_some(at) };

        let room = self.shared.reserve(payload.len()).await?;
        let (outcome, unsettled) = oneshot::channel();
        let (stream, wakeups) = (Arc::clone(&self.stream), Arc::clone(&self.shared.wakeups));
        let announced = Arc::clone(&entries);
        let done = move |committed: Result<Position, _>| {
            let appended = committed
                .map_err(LogError::unavailable)
                .and_then(|at| stream.appended(placed, at).map_err(|refused| stream.error(refused)));
            if appended.is_ok() {
                let hint = Hint::Appended { epoch: stream.spec.epoch(), entries: announced };
                wakeups.announce(stream.id, hint);
            }
            // The writer may have been dropped.
            let _ = outcome.send(appended);
        };
        self.shared.journal.submit(room, payload, done);
        self.unsettled = Some(Unsettled { entries, outcome: unsettled });
        Ok(())
    }

    /// Waits for the outcome of the submitted batch. Returns the last seq.
    async fn outcome(&mut self) -> Result<Seq, LogError> {
        let Some(unsettled) = &mut self.unsettled else { return Ok(self.last_seq) };
        let outcome =
            (&mut unsettled.outcome).await.unwrap_or_else(|stopped| Err(LogError::unavailable(stopped)));
        let entries = unsettled.entries.len();
        self.unsettled = None;
        outcome?;
        self.last_seq = self.last_seq.plus(entries);
        Ok(self.last_seq)
    }
}

#[async_trait]
impl LogWriter for EmbeddedWriter {
    fn attempt(&self) -> Attempt {
        self.attempt
    }

    fn start_by(&self) -> Timestamp {
        self.stream.spec.start_by
    }

    fn so_far(&self) -> &Prefix {
        &self.so_far
    }

    fn attempts(&self) -> Attempts {
        self.attempts
    }

    async fn record_attempts(&mut self, attempts: Attempts, ownership: Ownership) -> Result<(), LogError> {
        self.stream.check(self.attempt)?;
        let attempt = self.attempt;
        let wakeups = Arc::clone(&self.shared.wakeups);
        let change = Change::Attempts { attempt, attempts, ownership };
        let recorded = self.shared.commit(&self.stream, change, move |stream, at| {
            let recorded = stream.recorded(attempt, attempts, ownership, at);
            if recorded.is_ok() && ownership == Ownership::Released {
                wakeups.announce(stream.id, Hint::Look);
            }
            recorded
        });
        recorded.await?.map_err(|refused| self.stream.error(refused))
    }

    fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    async fn submit(&mut self, batch: &[Event]) -> Result<(), LogError> {
        debug_assert!(!batch.iter().any(Event::is_terminal), "a stream ends by a seal");
        self.submit_once(batch).await
    }

    async fn settle(&mut self) -> Result<Seq, LogError> {
        self.outcome().await
    }

    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError> {
        debug_assert!(last.is_terminal(), "only a terminal event seals");
        self.submit_once(std::slice::from_ref(last)).await?;
        self.outcome().await
    }
}

impl Drop for EmbeddedWriter {
    fn drop(&mut self) {
        self.stream.given_up(self.attempt);
    }
}

impl fmt::Debug for EmbeddedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedWriter")
            .field("stream", &self.stream.id)
            .field("attempt", &self.attempt)
            .field("tail", &self.last_seq)
            .finish_non_exhaustive()
    }
}
