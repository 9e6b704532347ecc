//! The token log port ([`tokenwire_core::TokenLog`]) in memory, on the embedded journal and on Redis.
//!
//! Adapters do not use each other. They share the stored form of a batch (`record`) and the wake-ups of one process
//! (`wakeups`).

pub mod embedded;
pub mod memory;
pub mod redis;

mod claims;
mod inspection;
mod record;
mod wakeups;

pub use inspection::Inspection;
