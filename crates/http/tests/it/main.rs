//! The front ends from outside: most of it through the router in this process, what concerns connections through sockets
//! of the loopback interface and bytes written by hand.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; the exemption for tests does not reach the helpers of an integration test"
)]

mod slow_readers;
mod stores;
mod support;

mod ask;
mod connections;
mod golden;
mod openai;
mod openapi;
mod page;
mod refusals;
mod streams;
