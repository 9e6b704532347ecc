//! The two loops and the door, on the memory adapters, under paused time.
#![expect(clippy::unwrap_used, reason = "a test that is surprised should stop there")]

mod admission;
mod enduring;
mod following;
mod house;
mod outage;
mod script;
mod submitting;
mod working;
