//! One reader of one stream: turns entries into its front end's output, one step at a time.
//!
//! It holds at most one page of entries: the next step is taken only when the client reads. The caller sends the output, as
//! SSE or as WebSocket messages.

use std::{error::Error, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokenwire_core::{
    Entry, Follower, GenerationId, Seq, Timestamp,
    follow::{FollowError, Update},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::sink::Sink;

/// One front end's format for a stream: a fold over its entries (I8). A resumed reader gets the same fold from its cursor,
/// so the bytes for an entry must not depend on how the entries before it were split into deltas.
pub(crate) trait Encoder<S>: Send + 'static {
    /// Writes what comes before the first entry, for a reader that has seen everything up to `after`.
    fn begin(&mut self, after: Seq, sink: &mut S);

    /// Writes an entry as any number of frames.
    fn encode(&mut self, entry: &Entry, sink: &mut S);

    /// Writes that the generation waits for its model, which is asked again at this time. This is no entry, so the frame has
    /// no id, and later readers may not get it.
    fn waiting(&mut self, _until: Timestamp, sink: &mut S)
    where
        S: Sink,
    {
        sink.heartbeat();
    }

    /// Writes an end that is no entry: the log has lost the stream, including its terminal entry.
    fn lost(&mut self, sink: &mut S);

    /// Whether the encoder ended the output early, because its format cannot show an entry. Nothing more is encoded then.
    fn gave_up(&self) -> bool {
        false
    }
}

/// One reader of one stream through one front end.
pub(crate) struct StreamReader<E> {
    id: GenerationId,
    /// The last entry that was encoded.
    cursor: Seq,
    follower: Follower,
    /// Whether the log has lost the stream and the end was written.
    lost: bool,
    encoder: E,
    heartbeat: Duration,
    /// When the reader last got any output.
    given: Instant,
    drain: CancellationToken,
    /// One future, kept over all steps. The set polls it only when it is woken, so that an entry costs no timer and no
    /// registration.
    interruptions: FuturesUnordered<BoxFuture<'static, Interruption>>,
}

/// What may happen between two entries.
#[derive(Clone, Copy)]
enum Interruption {
    Drained,
    /// The heartbeat interval is over.
    Silence,
}

async fn interruption(drain: CancellationToken, silent_until: Instant) -> Interruption {
    tokio::select! {
        biased;
        () = drain.cancelled() => Interruption::Drained,
        () = sleep_until(silent_until) => Interruption::Silence,
    }
}

impl<E> StreamReader<E> {
    /// A reader of `follower`. It gets a heartbeat after this much time without other output, and `drain` cuts it off.
    pub(crate) fn new(
        id: GenerationId,
        follower: Follower,
        encoder: E,
        heartbeat: Duration,
        drain: CancellationToken,
    ) -> Self {
        let cursor = follower.cursor();
        let given = Instant::now();
        let interruptions = FuturesUnordered::new();
        interruptions.push(interruption(drain.clone(), given + heartbeat).boxed());
        Self { id, cursor, follower, lost: false, encoder, heartbeat, given, drain, interruptions }
    }

    pub(crate) fn encoder(&self) -> &E {
        &self.encoder
    }

    /// Writes what is sent at once: the reader learns that its request has arrived, however long the queue is.
    pub(crate) fn begin<S>(&mut self, sink: &mut S)
    where
        E: Encoder<S>,
    {
        self.encoder.begin(self.cursor, sink);
    }

    /// Waits until there is something to send. `false` at the end: after the terminal entry, after a lost stream, or when the
    /// encoder has given up.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`Cut`]: the reader must see that this was not the end.
    pub(crate) async fn step<S: Sink>(&mut self, sink: &mut S) -> Result<bool, Cut>
    where
        E: Encoder<S>,
    {
        while sink.is_empty() {
            if self.lost || self.encoder.gave_up() {
                return Ok(false);
            }
            // Dropping a future here loses no entry: the follower keeps its state.
            let update = tokio::select! {
                biased;
                Some(interruption) = self.interruptions.next() => {
                    self.interrupted(interruption, sink)?;
                    continue;
                }
                update = self.follower.next_update() => update,
            };
            let entries = match update.inspect_err(|error| self.report(error)) {
                Ok(Some(Update::Entries(entries))) => entries,
                Ok(Some(Update::Waiting { until })) => {
                    self.encoder.waiting(until, sink);
                    continue;
                }
                Ok(None) => return Ok(false),
                Err(FollowError::Lost(_)) => {
                    // Resuming would find nothing, so a cut would make the reader reconnect for ever.
                    self.lost = true;
                    self.encoder.lost(sink);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for entry in &*entries {
                if self.encoder.gave_up() {
                    break;
                }
                self.encoder.encode(entry, sink);
                self.cursor = entry.seq;
            }
        }
        self.given = Instant::now();
        Ok(true)
    }

    fn interrupted(&mut self, by: Interruption, sink: &mut impl Sink) -> Result<(), Cut> {
        match by {
            Interruption::Drained => Err(Cut::Drained),
            Interruption::Silence => {
                let now = Instant::now();
                let mut due = self.given + self.heartbeat;
                if due <= now {
                    sink.heartbeat();
                    due = now + self.heartbeat;
                }
                self.interruptions.push(interruption(self.drain.clone(), due).boxed());
                Ok(())
            }
        }
    }

    fn report(&self, error: &FollowError) {
        tracing::warn!(generation.id = %self.id, seq = %self.cursor, error = error as &dyn Error, "a reader cannot go on");
    }
}

/// Why a stream is cut before its end. The client sees a closed connection, and resumes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    #[error("the server is draining")]
    Drained,
    #[error("the stream cannot be read here any more")]
    Unreadable(#[from] FollowError),
}
