//! Common types of errors.

use std::time::Duration;

/// The cause of an error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error and its causes in one line.
pub fn explain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Why a model returned no answer, or a part of one.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It has no capacity. The generation waits and loses no attempt.
    #[error("the model is busy")]
    Busy {
        /// The shortest wait.
        retry_after: Duration,
    },
    /// It cannot be reached or is not up, so it did not get the request. The generation waits and loses no attempt.
    #[error("the model cannot be reached")]
    Absent {
        /// The shortest wait. Zero when it is not known.
        retry_after: Duration,
        /// Why.
        #[source]
        cause: BoxError,
    },
    /// It can never answer this request. The generation fails with this message.
    #[error("model rejected the request: {message}")]
    Rejected {
        /// Why, for the caller.
        message: String,
    },
    /// It failed after it got the request. Another attempt may succeed. Attempts without progress count.
    #[error("the model failed")]
    Unavailable(#[source] BoxError),
}
