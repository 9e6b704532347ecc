//! A streaming answer. Our own server takes its pieces along with the connection; whoever else has the answer finds them in
//! its body.
//!
//! It ends politely when all was said. Whatever else stops it (a drain, a log that is away) ends it with an error, upon
//! which the connection is dropped without the final chunk: the reader sees a cut and resumes.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::{Stream, StreamExt, future::ready, stream};

use super::{Frames, wire};
use crate::{
    limits::StreamPermit,
    reading::{Cut, Encoder, Reading, Sink},
    takeover::Takeover,
};

/// Everything that a reader has not seen yet, as whole frames. Holds the permit for as long as the stream is open.
pub(super) struct Answering<E> {
    reading: Reading<E>,
    frames: Frames,
    _permit: StreamPermit,
}

impl<E: Encoder> Answering<E> {
    /// Boxed, because whoever holds it would else hold it several times: a future keeps room for every place that it moves
    /// a value to.
    fn new(mut reading: Reading<E>, permit: StreamPermit) -> Box<Self> {
        let mut frames = Frames::default();
        reading.begin(&mut frames);
        Box::new(Self { reading, frames, _permit: permit })
    }

    /// Waits for more, and gives as much as there is at a time; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Cut> {
        if self.frames.is_empty() && !self.reading.step(&mut self.frames).await? {
            return Ok(None);
        }
        Ok(Some(self.frames.take()))
    }
}

/// The answer that gives a reader everything, as it comes.
pub(crate) fn answer<E: Encoder>(reading: Reading<E>, permit: StreamPermit) -> Response {
    let answering = Arc::new(Mutex::new(Some(Answering::new(reading, permit))));
    // Nothing panics while holding the lock.
    let take = |answering: &Mutex<Option<_>>| answering.lock().unwrap_or_else(PoisonError::into_inner).take();
    let of_body = Arc::clone(&answering);
    let body = stream::once(async move { take(&of_body) }).filter_map(ready).flat_map(pieces);
    let mut response = (headers(), Body::from_stream(body)).into_response();
    let takeover = Takeover::new(move |connection| wire::give(connection, take(&answering)));
    response.extensions_mut().insert(takeover);
    response
}

fn pieces<E: Encoder>(answering: Box<Answering<E>>) -> impl Stream<Item = Result<Bytes, Cut>> {
    stream::try_unfold(answering, |mut answering| async move {
        Ok(answering.next().await?.map(|piece| (piece, answering)))
    })
}

/// What the head of a streaming answer says.
fn headers() -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // No proxy may keep the stream, compress it (which would collect it first), or buffer it.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ]
}
