//! One reader of one stream, and its way to a socket.
//!
//! ```text
//! Generations::follow ── reader ── an Encoder ── frames ── send ── TCP
//!                                           └─ websocket ────────┘
//! ```
//!
//! [`reader`] asks for entries only when its socket takes bytes. An [`Encoder`](reader::Encoder) of a front end says what an
//! entry becomes; [`frames`] is the only place that knows how a Server-Sent Event is written. Nothing here knows a front end.

pub(crate) mod frames;
pub(crate) mod headers;
pub(crate) mod permit;
pub(crate) mod reader;
pub(crate) mod response;
mod send;
pub(crate) mod sink;
pub(crate) mod upgrade;
pub(crate) mod websocket;
pub(crate) mod write_timeout;
