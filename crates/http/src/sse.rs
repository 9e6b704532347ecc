//! Server-Sent Events: from entries to bytes on a connection.
//!
//! [`Frames`] knows how an event is written, and is the only place that does. What is written, an
//! [`Encoder`](crate::reading::Encoder) says; a [`Reading`](crate::reading::Reading) becomes a body that lasts for as long
//! as the reader takes it.

mod body;
mod frames;

use axum::http::{HeaderName, HeaderValue, header};
pub(crate) use frames::Frames;

/// What the head of a streaming answer says.
pub(crate) fn headers() -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // No proxy may keep the stream, compress it (which would collect it first), or buffer it.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ]
}
