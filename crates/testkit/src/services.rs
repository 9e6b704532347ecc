//! Real servers as children of the test: on their own ports of the loopback interface, in their own temporary
//! directories, gone with the test however it ends.
//!
//! Start one to hurt it (`kill`, `restart`, `pause`), or share the one of the test binary (`shared`) and keep out of the
//! way of other tests by key prefixes and queue names. Servers start in real time: not for tests that pause tokio's.

mod guarded;
mod llama;
mod ports;
mod rabbitmq;
mod redis;
mod server;

use std::time::{Duration, Instant};

pub use guarded::Guarded;
pub use llama::{LlamaServer, small_model};
pub use ports::free_port;
pub use rabbitmq::RabbitMq;
pub use redis::{AppendOnly, Redis};

/// How often a server that did not come up is tried again on another port: somebody may have taken the first one between
/// our look and its bind.
const STARTS: usize = 5;

/// Looks every few milliseconds until `done`, for at most `wait`. Blocks the thread.
///
/// Returns whether it was done in time.
pub(crate) fn wait_until(wait: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + wait;
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "other processes run in real time, whatever tokio's clock says"
        )]
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Runs what blocks away from the runtime. Its panics are the caller's.
pub(crate) async fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
