//! Writes that a worker retries while the log is unavailable.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    event::Event,
    retry::Backoff,
    token_log::{Attempts, LogError, LogWriter, Ownership},
};

/// How long a worker tries to seal a stream while the log is unavailable. Then the job returns to the queue.
pub(super) const SEAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Records that the model is about to be asked. Retries, because a write of unknown outcome could count an attempt that
/// asked nothing.
pub(super) async fn record_asking(
    writer: &mut dyn LogWriter,
    asking: Attempts,
    deadline: Instant,
) -> Result<(), LogError> {
    write_until(deadline, writer, Write::Attempts(asking, Ownership::Kept)).await
}

/// Records the state of the attempts and releases the stream.
pub(super) async fn release(
    writer: &mut dyn LogWriter,
    attempts: Attempts,
    deadline: Instant,
) -> Result<(), LogError> {
    match write_until(deadline, writer, Write::Attempts(attempts, Ownership::Released)).await {
        // Another attempt owns the stream and does not wait for this one.
        Err(LogError::Fenced | LogError::Sealed | LogError::NotFound(_)) => Ok(()),
        released => released,
    }
}

/// Seals the stream.
pub(super) async fn seal(writer: &mut dyn LogWriter, last: &Event) -> Result<(), LogError> {
    write_until(Instant::now() + SEAL_TIMEOUT, writer, Write::Seal(last)).await
}

/// A write that is retried.
#[derive(Clone, Copy, Debug)]
enum Write<'a> {
    Attempts(Attempts, Ownership),
    Seal(&'a Event),
}

/// Writes to the log, and retries until the deadline while the log is unavailable.
async fn write_until(
    deadline: Instant,
    writer: &mut dyn LogWriter,
    write: Write<'_>,
) -> Result<(), LogError> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        let written = match write {
            Write::Attempts(attempts, ownership) => writer.record_attempts(attempts, ownership).await,
            Write::Seal(last) => writer.seal(last).await.map(drop),
        };
        match written {
            Err(LogError::Unavailable(cause)) if Instant::now() < deadline => {
                tracing::warn!(attempt = %writer.attempt(), %cause, "the token log is unavailable; retrying");
                sleep(backoff.advance()).await;
            }
            other => return other,
        }
    }
}
