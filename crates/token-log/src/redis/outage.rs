//! Why Redis did not do what it was asked, and what that means for the caller.

use std::time::Duration;

use ::redis::RedisError;
use tokenwire_core::{GenerationId, LogError};

/// Why Redis did not do what it was asked. Cheap to clone: one failed connection fails many commands.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Outage {
    #[error("cannot connect to redis at {address}")]
    Connect {
        address: String,
        #[source]
        source: RedisError,
    },
    #[error("redis at {address} has version {version}, tokenwire needs 7.0 or newer")]
    TooOld { address: String, version: String },
    #[error("redis at {address} did not answer within {within:?}")]
    Silent { address: String, within: Duration },
    #[error("redis at {address} did not do what it was asked")]
    Command {
        address: String,
        #[source]
        source: RedisError,
    },
    #[error("redis has lost a stream again as soon as it was put back")]
    LostAgain(#[source] Box<Self>),
    #[error("the token log was closed")]
    Closed,
    #[error("the connection to redis was lost while subscribing")]
    SubscriptionLost,
}

impl Outage {
    /// The code with which the server, or a script of ours, refused.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Command { source, .. } => source.code(),
            _ => None,
        }
    }

    /// Whether the server has forgotten what it had answered.
    pub(super) fn is_loss(&self) -> bool {
        matches!(self.code(), Some("NOTFOUND" | "LOST"))
    }

    /// What a caller of the port hears.
    pub(super) fn about(self, id: GenerationId) -> LogError {
        match self.code() {
            Some("NOTFOUND") => LogError::NotFound(id),
            Some("SEALED") => LogError::Sealed,
            Some("FENCED") => LogError::Fenced,
            _ => LogError::unavailable(self),
        }
    }
}
