//! Why Redis did not do what it was asked, and what that means for the caller.

use std::{fmt, time::Duration};

use ::redis::{ErrorKind, RedisError};
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
    #[error("redis at {address} did not do what it was asked")]
    Command {
        address: String,
        #[source]
        source: RedisError,
    },
    #[error("redis at {address} did not pass on within {within:?} what was published")]
    NoWakeUp { address: String, within: Duration },
    #[error("redis has lost a stream again as soon as it was put back")]
    LostAgain(#[source] Box<Self>),
    #[error("the token log was closed")]
    Closed,
    #[error("the connection to redis was lost while subscribing")]
    SubscriptionLost,
}

/// What the server says when the key of a command is of another type.
const WRONGTYPE: &str = "WRONGTYPE";

/// What Tokenwire cannot work with.
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

/// The server refuses because it is not the one to write to now, or not yet: a replica, one that loads its data, a part of
/// a cluster. Another one may have its address by now.
pub(super) fn is_elsewhere(source: &RedisError) -> bool {
    const CODES: [&str; 5] = ["READONLY", "MASTERDOWN", "LOADING", "MOVED", "CLUSTERDOWN"];
    // In a transaction the code is that of one of the commands.
    let errors = source.clone().into_server_errors();
    errors.is_some_and(|errors| errors.iter().any(|(_, error)| CODES.contains(&error.code())))
}

impl Outage {
    /// The code with which the server, or a script of ours, refused.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Command { source, .. } | Self::TakesNoWrites { source, .. } => source.code(),
            _ => None,
        }
    }

    /// Whether the server has forgotten what it had answered, or holds something else in its place.
    pub(super) fn is_loss(&self) -> bool {
        matches!(self.code(), Some("NOTFOUND" | "LOST" | WRONGTYPE))
    }

    /// Of what was tried right after a loss was mended.
    pub(super) fn again(self) -> Self {
        if self.is_loss() { Self::LostAgain(Box::new(self)) } else { self }
    }

    /// Whether what is stored is not what it ought to be: a key is of another type, or a value is none of ours.
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

    /// Whether the server takes no writes because it has lost its replicas. It may be a primary that was cut off, whose place
    /// another one has taken; or the only one, with something to read. So a connection to it is not kept for long, and counts
    /// as up.
    pub(super) fn may_be_cut_off(&self) -> bool {
        self.code() == Some("NOREPLICAS")
    }

    /// What a caller of the port hears.
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
