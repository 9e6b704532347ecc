//! The body of a streaming answer: pulled by the connection, one step at a time.
//!
//! It ends politely when all was said. Whatever else stops it (a drain, a log that is away) ends it with an error, upon
//! which the connection is dropped without the final chunk: the reader sees a cut and resumes.

use axum::body::{Body, Bytes};
use futures::stream;

use super::Frames;
use crate::{
    limits::StreamPermit,
    reading::{Cut, Encoder, Reading, Sink},
};

impl<E: Encoder> Reading<E> {
    /// Everything that the reader has not seen yet, as it comes. Holds the permit for as long as the stream is open.
    pub(crate) fn into_body(mut self, permit: StreamPermit) -> Body {
        let mut frames = Frames::default();
        self.begin(&mut frames);
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
}
