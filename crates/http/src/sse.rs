//! Server-Sent Events: from entries to bytes on a connection.
//!
//! [`Frames`] knows how an event is written, and is the only place that does. What is written, an
//! [`Encoder`](crate::reading::Encoder) says; and [`answer`] makes a [`Reading`](crate::reading::Reading) an
//! answer that lasts for as long as the reader takes it.

mod answer;
mod frames;
mod wire;

pub(crate) use answer::answer;
pub(crate) use frames::Frames;
