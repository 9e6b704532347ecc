//! Real servers as children of the test: on their own ports of the loopback interface, in their own temporary
//! directories, gone with the test however it ends.
//!
//! Start a server for tests with faults (`kill`, `restart`, `pause`). Otherwise use the one that the test binary shares
//! (`shared`), with your own key prefixes and queue names. Servers start in real time: not for tests that pause tokio's.

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

/// How many ports are tried for a server: another process may take a port between the check and the server's bind.
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

/// Runs blocking code outside the runtime. Its panics go to the caller.
pub(crate) async fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
