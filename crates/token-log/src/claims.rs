//! The claim on storing the job of a stream, for the logs that live in one process.

use tokenwire_core::token_log::{CLAIM_TIME, JobClaim, STORED_TIME};
use tokio::time::Instant;

/// The claim on storing the job of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Claims {
    /// A caller has had the claim since then.
    Claimed(Instant),
    /// The job was stored then.
    Stored(Instant),
}

impl Claims {
    /// Creating a stream takes the first claim.
    pub(crate) fn of_creator() -> Self {
        Self::Claimed(Instant::now())
    }

    /// See [`tokenwire_core::TokenLog::claim_job`].
    pub(crate) fn claim(&mut self) -> JobClaim {
        match self {
            Self::Claimed(since) if since.elapsed() < CLAIM_TIME => JobClaim::Taken,
            Self::Stored(at) if at.elapsed() < STORED_TIME => JobClaim::Stored,
            Self::Claimed(_) | Self::Stored(_) => {
                *self = Self::Claimed(Instant::now());
                JobClaim::Granted
            }
        }
    }

    /// See [`tokenwire_core::TokenLog::job_stored`].
    pub(crate) fn stored(&mut self) {
        *self = Self::Stored(Instant::now());
    }
}
