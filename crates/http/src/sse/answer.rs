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
use futures::{StreamExt, stream, stream::BoxStream};

use super::{Frames, wire};
use crate::{
    limits::StreamPermit,
    reading::{Cut, Encoder, Reading, Sink},
    takeover::Takeover,
};

/// Whole frames, as many as there are at a time.
pub(super) type Pieces = BoxStream<'static, Result<Bytes, Cut>>;

/// Everything that the reader has not seen yet, as it comes. Holds the permit for as long as the stream is open.
pub(crate) fn answer<E: Encoder>(reading: Reading<E>, permit: StreamPermit) -> Response {
    let pieces = Arc::new(Mutex::new(Some(pieces(reading, permit))));
    let take = |pieces: &Mutex<Option<Pieces>>| {
        // Nothing panics while holding the lock.
        let taken = pieces.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_else(|| stream::empty().boxed())
    };
    let of_body = Arc::clone(&pieces);
    let body = Body::from_stream(stream::once(async move { take(&of_body) }).flatten());
    let mut response = (headers(), body).into_response();
    let takeover = Takeover::new(move |connection| wire::give(connection, take(&pieces)));
    response.extensions_mut().insert(takeover);
    response
}

fn pieces<E: Encoder>(mut reading: Reading<E>, permit: StreamPermit) -> Pieces {
    let mut frames = Frames::default();
    reading.begin(&mut frames);
    stream::try_unfold((reading, frames, permit), |(mut reading, mut frames, permit)| async move {
        if frames.is_empty() && !reading.step(&mut frames).await? {
            return Ok::<_, Cut>(None);
        }
        let bytes: Bytes = frames.take();
        Ok(Some((bytes, (reading, frames, permit))))
    })
    .boxed()
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
