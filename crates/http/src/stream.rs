//! One reader of one stream, and how its output gets to a socket.
//!
//! ```text
//! Generations::follow ── reader ── an Encoder ── frames ── send ── TCP
//!                                           └─ websocket ────────┘
//! ```
//!
//! [`reader`] asks for entries only when its socket takes bytes. An [`Encoder`](reader::Encoder) of a front end writes
//! entries as output. Only [`frames`] knows how to write a Server-Sent Event. Nothing here depends on a front end.

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
