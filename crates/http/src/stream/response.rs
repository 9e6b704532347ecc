//! The response that carries a stream. Our own server sends the stream after an [`Upgrade`]; tests and other servers find it
//! in the body.
//!
//! The body ends in order only after the last frame. A drain, or a log that cannot be read, ends it with an error: the
//! connection is then closed without the final chunk, and the reader sees a cut and resumes.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::{Stream, StreamExt, future::ready, stream};

use super::{
    frames::Frames,
    permit::StreamPermit,
    reader::{Cut, Encoder, StreamReader},
    send::{self, FrameSource},
    upgrade::Upgrade,
};

/// A response that streams frames to a reader.
pub(crate) fn stream_response<E: Encoder<Frames>>(reader: StreamReader<E>, permit: StreamPermit) -> Response {
    let source = Arc::new(Mutex::new(Some(FrameSource::new(reader, permit))));
    // Nothing panics while holding the lock.
    let take = |source: &Mutex<Option<_>>| source.lock().unwrap_or_else(PoisonError::into_inner).take();
    let of_body = Arc::clone(&source);
    let body = stream::once(async move { take(&of_body) }).filter_map(ready).flat_map(frames);
    let mut response = (headers(), Body::from_stream(body)).into_response();
    response.extensions_mut().insert(Upgrade::new(move |connection| send::send(connection, take(&source))));
    response
}

fn frames<E: Encoder<Frames>>(source: Box<FrameSource<E>>) -> impl Stream<Item = Result<Bytes, Cut>> {
    stream::try_unfold(
        source,
        |mut source| async move { Ok(source.next().await?.map(|frames| (frames, source))) },
    )
}

/// The headers of a stream.
fn headers() -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // Proxies must not keep the stream, compress it (they would collect it first), or buffer it.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ]
}
