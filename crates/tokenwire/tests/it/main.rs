//! The real binary, used as its users do: over HTTP and from the command line, killed, restarted and cut.
//!
//! One test binary, so that what is expensive to start is started once.
#![expect(clippy::unwrap_used, reason = "a test that is surprised should stop there")]

mod app;
mod bounds;
mod chat;
mod cli;
mod cluster;
mod cluster_enduring;
mod embedded;
mod enduring;
mod reader;
#[cfg(feature = "gguf")]
mod real;
mod scripted;
mod scripted_model;
mod sdk;
mod upstream;
