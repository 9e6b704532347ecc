//! The body of a streaming answer: pulled by the connection, one step at a time.
//!
//! It holds no more than one page of entries: when the reader does not read, nobody asks for the next step. It ends
//! politely after the terminal entry, or once the reader was told that there will be none: the log has lost the stream, or
//! the front end cannot say what came.
//! Whatever else stops it (a drain, a log that is away) ends it with an error, upon which the connection is dropped without
//! the final chunk: the reader sees a cut and resumes.

use std::{error::Error, time::Duration};

use axum::body::{Body, Bytes};
use futures::{StreamExt, stream, stream::BoxStream};
use tokenwire_core::{Entry, Follower, GenerationId, Seq, follow::FollowError};
use tokio_util::sync::CancellationToken;

use super::{Encoder, Frames};
use crate::limits::StreamPermit;

/// One reader of one stream through one front end.
pub(crate) struct Reading<E> {
    id: GenerationId,
    /// The last entry that was encoded.
    cursor: Seq,
    /// A stream rather than the follower itself: a heartbeat interrupts the wait for entries, and must not begin anew the
    /// patience that a follower has with a log that is down.
    entries: BoxStream<'static, Result<Vec<Entry>, FollowError>>,
    encoder: E,
    heartbeat: Duration,
    drain: CancellationToken,
}

impl<E: Encoder> Reading<E> {
    /// A reader of `follower`, who gets a comment after `heartbeat` without anything else, and is cut off by `drain`.
    pub(crate) fn new(
        id: GenerationId,
        follower: Follower,
        encoder: E,
        heartbeat: Duration,
        drain: CancellationToken,
    ) -> Self {
        let cursor = follower.cursor();
        let entries = stream::try_unfold(follower, |mut follower| async move {
            Ok(follower.next().await?.map(|entries| (entries, follower)))
        });
        Self { id, cursor, entries: entries.boxed(), encoder, heartbeat, drain }
    }

    /// Everything that the reader has not seen yet, as it comes. Holds the permit for as long as the stream is open.
    pub(crate) fn into_body(mut self, permit: StreamPermit) -> Body {
        let mut frames = Frames::default();
        // Goes out at once: the reader learns that it was heard, however long the queue is.
        self.encoder.begin(self.cursor, &mut frames);
        Body::from_stream(stream::try_unfold(
            (self, frames, permit),
            |(mut reading, mut frames, permit)| async move {
                if frames.is_empty() && !reading.step(&mut frames).await? {
                    return Ok::<_, Cut>(None);
                }
                let bytes: Bytes = frames.take();
                Ok(Some((bytes, (reading, frames, permit))))
            },
        ))
    }

    /// Waits until there is something to send. `false` when all of it was sent.
    async fn step(&mut self, frames: &mut Frames) -> Result<bool, Cut> {
        while frames.is_empty() {
            if self.encoder.gave_up() {
                return Ok(false);
            }
            // Whatever is dropped here, no entry is: the stream keeps what it is waiting for.
            let entries = tokio::select! {
                biased;
                () = self.drain.cancelled() => return Err(Cut::Drained),
                entries = self.entries.next() => entries,
                () = tokio::time::sleep(self.heartbeat) => {
                    frames.heartbeat();
                    return Ok(true);
                }
            };
            let entries = match entries.transpose().inspect_err(|error| self.report(error)) {
                Ok(Some(entries)) => entries,
                Ok(None) => return Ok(false),
                Err(FollowError::Lost(_)) => {
                    // Resuming would find nothing: a cut would send the reader round and round. No entries follow.
                    self.encoder.lost(frames);
                    return Ok(true);
                }
                Err(error) => return Err(error.into()),
            };
            for entry in &entries {
                if self.encoder.gave_up() {
                    break;
                }
                self.encoder.encode(entry, frames);
                self.cursor = entry.seq;
            }
        }
        Ok(true)
    }

    fn report(&self, error: &FollowError) {
        tracing::warn!(generation.id = %self.id, seq = %self.cursor, error = error as &dyn Error, "a reader cannot go on");
    }
}

/// Why a stream ends before its end. Only the connection sees it, and aborts.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the server is draining")]
    Drained,
    #[error("the stream cannot be read here any more")]
    Unreadable(#[from] FollowError),
}
