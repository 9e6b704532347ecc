//! One reader of one stream: entries become whatever its front end writes, one step at a time.
//!
//! It holds no more than one page of entries: when the reader does not read, nobody asks for the next step. How the
//! outcome travels, as a body of SSE or as messages of a WebSocket, is not its business; nor is how it is cut off.

use std::{error::Error, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokenwire_core::{
    Entry, Follower, GenerationId, Seq, Timestamp,
    follow::{FollowError, Update},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::sink::Sink;

/// One front end's way to show a stream: a fold over its entries (I8). A resumed reader gets the same fold from its
/// cursor, so the bytes for an entry must not depend on how the entries before it were cut.
pub(crate) trait Encoder<S>: Send + 'static {
    /// What a reader that has seen everything up to `after` is told before the first entry.
    fn begin(&mut self, after: Seq, sink: &mut S);

    /// What an entry becomes: any number of frames.
    fn encode(&mut self, entry: &Entry, sink: &mut S);

    /// The frame for a generation that waits for its model, which is asked again at this time. It stems from no entry, so it
    /// must not have an id, and a reader that comes later may not get it.
    fn waiting(&mut self, _until: Timestamp, sink: &mut S)
    where
        S: Sink,
    {
        sink.heartbeat();
    }

    /// What a reader is told when the log has lost the stream, terminal entry and all: an end that is no entry.
    fn lost(&mut self, sink: &mut S);

    /// Whether the reader was told an end before the stream had one, because this front end cannot say what came. Nothing
    /// is encoded any more then.
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
    /// The reader was told so. It is over.
    lost: bool,
    encoder: E,
    heartbeat: Duration,
    /// When the reader was last given anything.
    given: Instant,
    drain: CancellationToken,
    /// One, kept over all steps, and in a set that looks at it only when it has something to say, so that an entry costs no
    /// timer and no registration.
    interruptions: FuturesUnordered<BoxFuture<'static, Interruption>>,
}

/// What may come between two entries.
#[derive(Clone, Copy)]
enum Interruption {
    Drained,
    /// The heartbeat's time is over, since somebody looked last.
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
    /// A reader of `follower`, who gets a heartbeat after so much time without anything else, and is cut off by `drain`.
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

    /// What goes out at once: the reader learns that it was heard, however long the queue is.
    pub(crate) fn begin<S>(&mut self, sink: &mut S)
    where
        E: Encoder<S>,
    {
        self.encoder.begin(self.cursor, sink);
    }

    /// Waits until there is something to send. `false` when all of it was sent: after the terminal entry, or once the reader
    /// was told that there will be none, as the log has lost the stream, or the front end cannot say what came.
    ///
    /// May be dropped and called again without losing anything.
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
            // Whatever is dropped here, no entry is: the follower keeps what it is waiting for, and since when.
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
                    // Resuming would find nothing: a cut would send the reader round and round. No entries follow.
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

/// Why a stream ends before its end. No client is told: its connection is cut, and it resumes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    #[error("the server is draining")]
    Drained,
    #[error("the stream cannot be read here any more")]
    Unreadable(#[from] FollowError),
}
