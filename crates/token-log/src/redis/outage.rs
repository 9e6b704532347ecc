//! Errors of Redis, and their meaning for the caller.

use std::{fmt, time::Duration};

use ::redis::{ErrorKind, RedisError};
use tokenwire_core::{GenerationId, LogError};

/// An error of Redis. Cheap to clone: one failed connection fails many commands.
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
    #[error("redis at {address} is {kind}; give Tokenwire the address of one Redis server that takes writes")]
    Unsupported { address: String, kind: Kind },
    #[error(
        "redis at {address} takes no writes; trying again until it does, or another server has its address"
    )]
    TakesNoWrites {
        address: String,
        #[source]
        source: RedisError,
    },
    #[error("redis at {address} did not answer within {within:?}")]
    Silent { address: String, within: Duration },
    #[error("redis at {address} returned an error")]
    Command {
        address: String,
        #[source]
        source: RedisError,
    },
    #[error("redis at {address} did not deliver a published message within {within:?}")]
    NoWakeUp { address: String, within: Duration },
    #[error("redis lost a stream again right after it was restored")]
    LostAgain(#[source] Box<Self>),
    #[error("the token log was closed")]
    Closed,
    #[error("the connection to redis was lost while subscribing")]
    SubscriptionLost,
}

/// The error code for a key of another type.
const WRONGTYPE: &str = "WRONGTYPE";

/// A kind of server that Tokenwire does not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Cluster,
    Sentinel,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "a node of a Redis Cluster, which Tokenwire does not support",
            Self::Sentinel => "a Redis Sentinel, which Tokenwire does not support",
        })
    }
}

/// Whether the server refuses because it is not, or not yet, the primary: a replica, a server that loads its data, or a
/// part of a cluster. Another server may have its address by now.
pub(super) fn is_elsewhere(source: &RedisError) -> bool {
    const CODES: [&str; 5] = ["READONLY", "MASTERDOWN", "LOADING", "MOVED", "CLUSTERDOWN"];
    // In a transaction the code is in the error of a command.
    let errors = source.clone().into_server_errors();
    errors.is_some_and(|errors| errors.iter().any(|(_, error)| CODES.contains(&error.code())))
}

impl Outage {
    /// The error code of the server or of a script.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Command { source, .. } | Self::TakesNoWrites { source, .. } => source.code(),
            _ => None,
        }
    }

    /// Whether the server has lost acknowledged data.
    pub(super) fn is_loss(&self) -> bool {
        matches!(self.code(), Some("NOTFOUND" | "LOST" | WRONGTYPE))
    }

    /// The error when a restored stream is lost at once again.
    pub(super) fn again(self) -> Self {
        if self.is_loss() { Self::LostAgain(Box::new(self)) } else { self }
    }

    /// Whether the stored data is damaged: a key or a value has another type.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Command { source, .. } => {
                let errors = source.clone().into_server_errors();
                source.kind() == ErrorKind::Parse
                    || errors.is_some_and(|errors| errors.iter().any(|(_, error)| error.code() == WRONGTYPE))
            }
            _ => false,
        }
    }

    /// Whether the server refuses writes because it lacks replicas. It may be an isolated primary that was replaced, or the
    /// only server, which can still be read. So the connection counts as up, but is not kept for long.
    pub(super) fn may_be_cut_off(&self) -> bool {
        self.code() == Some("NOREPLICAS")
    }

    /// The error for the caller of the port.
    pub(super) fn about(self, id: GenerationId) -> LogError {
        match self.code() {
            Some("NOTFOUND") => LogError::NotFound(id),
            Some("SEALED") => LogError::Sealed,
            Some("FENCED") => LogError::Fenced,
            _ if self.is_damage() => LogError::damaged(self),
            _ => LogError::unavailable(self),
        }
    }
}
