//! Server-Sent Events: from entries to bytes on a connection.
//!
//! Three nouns. [`Frames`] knows how an event is written, and is the only place that does. An [`Encoder`] knows which
//! frames an entry becomes in one front end. A [`Reading`] pulls entries from a follower through an encoder for as
//! long as the reader takes them.

mod body;
mod frames;

use axum::http::{HeaderName, HeaderValue, header};
pub(crate) use body::Reading;
pub(crate) use frames::Frames;
use tokenwire_core::{Entry, Seq};

/// One front end's way to show a stream: a fold over its entries (I8). A resumed reader gets the same fold from its
/// cursor, so the bytes for an entry must not depend on how the entries before it were cut.
pub(crate) trait Encoder: Send + 'static {
    /// What a reader that has seen everything up to `after` is told before the first entry.
    fn begin(&mut self, after: Seq, frames: &mut Frames);

    /// What an entry becomes: any number of frames.
    fn encode(&mut self, entry: &Entry, frames: &mut Frames);

    /// What a reader is told when the log has lost the stream, terminal entry and all: an end that is no entry.
    fn lost(&mut self, frames: &mut Frames);

    /// Whether the reader was told an end before the stream had one, because this front end cannot say what came. Nothing
    /// is encoded any more then.
    fn gave_up(&self) -> bool {
        false
    }
}

/// What the head of a streaming answer says.
pub(crate) fn headers() -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // No proxy may keep the stream, compress it (which would collect it first), or buffer it.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ]
}
