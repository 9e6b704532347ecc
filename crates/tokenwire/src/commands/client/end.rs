//! How an answer ended: exit codes and messages.

use tokenwire_core::FinishReason;

use super::say;

#[derive(Debug)]
pub(in crate::commands) enum End {
    /// The model ended it, for this reason if the client knows it.
    Done(Option<FinishReason>),
    /// The server refused the request.
    Refused(String),
    Failed(String),
    TimedOut,
    Expired,
    Cancelled,
    Unreachable(String),
    Interrupted,
    /// Standard output was closed.
    OutputClosed,
}

impl End {
    /// The exit code, as `tokenwire ask --help` documents it.
    pub(in crate::commands) fn code(&self) -> u8 {
        match self {
            Self::Done(_) => 0,
            Self::Refused(_) => 1,
            Self::Failed(_) => 3,
            Self::TimedOut => 4,
            Self::Expired => 5,
            Self::Cancelled => 6,
            Self::Unreachable(_) => 7,
            Self::Interrupted => 130,
            // As when a shell's program is ended by SIGPIPE.
            Self::OutputClosed => 141,
        }
    }

    /// Says on standard error what the text does not show.
    pub(in crate::commands) fn report(&self) {
        match self {
            Self::Done(Some(FinishReason::Length)) => {
                say("the answer was cut: it reached its maximum number of tokens");
            }
            Self::Done(Some(FinishReason::ContentFilter)) => {
                say("the answer was cut by a content filter of the model's provider");
            }
            Self::Done(Some(FinishReason::Stop | FinishReason::ToolCalls) | None) | Self::OutputClosed => {}
            Self::Refused(message) | Self::Failed(message) | Self::Unreachable(message) => say(message),
            Self::TimedOut => say("the generation exceeded its maximum run time"),
            Self::Expired => say("no worker started in time: try again, or start more workers"),
            Self::Cancelled => say("the generation was stopped"),
            Self::Interrupted => say("stopped"),
        }
    }
}
