//! The ways in which the process of an answer is hurt.

use crate::args::Mode;

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
}

impl Way {
    /// Those of a mode. A single process has nobody who could replace it but itself.
    pub(crate) fn all(mode: Mode) -> &'static [Self] {
        match mode {
            Mode::Embedded => &[Self::Restart, Self::Drain],
            Mode::Cluster => &[Self::Kill, Self::Freeze, Self::Isolate],
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
        }
    }
}
