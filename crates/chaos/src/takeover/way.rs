//! The faults of the takeover run: of the worker of an answer, or of a server that it needs.

use std::time::Duration;

use crate::{
    args::Mode,
    plan::{Fault, TargetId},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Gone at once; its sockets are closed by its machine.
    Kill,
    /// Silent, with its sockets open.
    Freeze,
    /// It goes on, and reaches neither server.
    Isolate,
    /// Gone at once, and started again at once.
    Restart,
    /// Asked to end, and started again.
    Drain,
    /// Asked to end twice, so that it gives its answer back at once, and started again.
    DrainHastily,
    /// Redis is gone for ten seconds, with its data.
    RedisAway,
    /// The replica of Redis becomes the primary, and the old connections are closed.
    RedisSwitch,
    /// The same, and the old connections stay with the old primary.
    RedisSwitchUnnoticed,
    /// RabbitMQ is killed and started again.
    RabbitMqRestart,
    /// RabbitMQ closes every connection.
    RabbitMqConnections,
}

impl Way {
    /// The faults of a mode. A single process can only be replaced by itself.
    pub(crate) fn all(mode: Mode) -> &'static [Self] {
        match mode {
            Mode::Embedded => &[Self::Restart, Self::Drain],
            Mode::Cluster => &[
                Self::Kill,
                Self::DrainHastily,
                Self::Freeze,
                Self::Isolate,
                Self::RedisAway,
                Self::RedisSwitch,
                Self::RedisSwitchUnnoticed,
                Self::RabbitMqRestart,
                Self::RabbitMqConnections,
            ],
        }
    }

    /// As the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Freeze => "SIGSTOP until replaced",
            Self::Isolate => "black hole until replaced",
            Self::Restart => "kill -9 and restart",
            Self::Drain => "SIGTERM and restart",
            Self::DrainHastily => "SIGTERM twice and restart",
            Self::RedisAway => "Redis away for 10 s",
            Self::RedisSwitch => "Redis switch, connections closed",
            Self::RedisSwitchUnnoticed => "Redis switch, connections stay",
            Self::RabbitMqRestart => "RabbitMQ kill -9 and restart",
            Self::RabbitMqConnections => "RabbitMQ closes all connections",
        }
    }

    /// The target and the fault, where it is not the process. The answer then needs no other attempt.
    pub(super) fn dependency(self) -> Option<(TargetId, Fault)> {
        match self {
            Self::Kill | Self::Freeze | Self::Isolate | Self::Restart | Self::Drain | Self::DrainHastily => {
                None
            }
            Self::RedisAway => Some((TargetId::Redis, Fault::Kill { down: Duration::from_secs(10) })),
            Self::RedisSwitch => Some((TargetId::Redis, Fault::Switch { closes: true })),
            Self::RedisSwitchUnnoticed => Some((TargetId::Redis, Fault::Switch { closes: false })),
            Self::RabbitMqRestart => Some((TargetId::RabbitMq, Fault::Kill { down: Duration::ZERO })),
            Self::RabbitMqConnections => Some((TargetId::RabbitMq, Fault::CloseConnections)),
        }
    }
}
