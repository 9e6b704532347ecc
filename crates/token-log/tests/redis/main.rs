//! The token log on a real Redis server: the port's conformance suite, and what only this adapter promises.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; the exemption for tests does not reach the helpers of an integration test"
)]

mod support;

mod appends;
mod attempts;
mod audiences;
mod conformance;
mod damage;
mod failovers;
mod fences;
mod keys;
mod looking;
mod losses;
mod outages;
mod readiness;
mod successors;
mod upgrades;
mod wake_ups;
