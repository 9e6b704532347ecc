//! The body of a streaming answer: pulled by the connection, one step at a time.
//!
//! It holds no more than one page of entries: when the reader does not read, nobody asks for the next step. It ends
//! politely after the terminal entry and only then. Whatever else stops it (a drain, a log that is gone) ends it with
//! an error, upon which the connection is dropped without the final chunk: the reader sees a cut and resumes.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream;
use tokenwire_core::{Follower, GenerationId, follow::FollowError};
use tokio_util::sync::CancellationToken;

use super::{Encoder, Frames};
use crate::limits::StreamPermit;

/// One reader of one stream through one front end.
#[derive(Debug)]
pub(crate) struct Reading<E> {
    pub(crate) id: GenerationId,
    pub(crate) follower: Follower,
    pub(crate) encoder: E,
    /// After this much silence a comment is sent.
    pub(crate) heartbeat: Duration,
    /// Cuts the reader off.
    pub(crate) drain: CancellationToken,
}

/// Everything that the reader has not seen yet, as it comes. Holds the permit for as long as the stream is open.
pub(crate) fn body<E: Encoder>(mut reading: Reading<E>, permit: StreamPermit) -> Body {
    let mut frames = Frames::default();
    reading.encoder.begin(reading.follower.cursor(), &mut frames);
    // What `begin` wrote goes out at once: the reader learns that it was accepted, however long the queue is.
    Body::from_stream(stream::try_unfold(
        (reading, frames, permit),
        |(mut reading, mut frames, permit)| async move {
            if frames.is_empty() && !reading.step(&mut frames).await? {
                return Ok::<_, Cut>(None);
            }
            let bytes: Bytes = frames.take();
            Ok(Some((bytes, (reading, frames, permit))))
        },
    ))
}

impl<E: Encoder> Reading<E> {
    /// Waits until there is something to send. `false` when all of it was sent.
    async fn step(&mut self, frames: &mut Frames) -> Result<bool, Cut> {
        while frames.is_empty() {
            // All three may be dropped: a follower loses nothing by it, and silence is counted from the last bytes sent.
            let next = tokio::select! {
                biased;
                () = self.drain.cancelled() => return Err(Cut::Drained),
                next = self.follower.next() => next,
                () = tokio::time::sleep(self.heartbeat) => {
                    frames.heartbeat();
                    return Ok(true);
                }
            };
            let Some(entries) = next.inspect_err(|error| self.report(error))? else {
                return Ok(false);
            };
            for entry in &entries {
                self.encoder.encode(entry, frames);
            }
        }
        Ok(true)
    }

    fn report(&self, error: &FollowError) {
        tracing::warn!(generation.id = %self.id, seq = %self.follower.cursor(), %error, "cut a reader off");
    }
}

/// Why a stream ends before its end. Only the connection sees it, and aborts.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the server is draining")]
    Drained,
    #[error("the stream cannot be read here any more")]
    Lost(#[from] FollowError),
}
