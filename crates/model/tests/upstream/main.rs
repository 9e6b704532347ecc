//! [`model::upstream::Upstream`] in front of services that do whatever a test wants: real sockets, bytes written by hand.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; the exemption for tests does not reach the helpers of an integration test"
)]

mod answers;
mod breaker;
mod continuation;
mod failures;
mod fake;
mod replicas;
mod requests;
mod retries;
mod stopping;
