//! How an answer ended, for scripts and for people.

use tokenwire_core::FinishReason;

use super::say;

#[derive(Debug)]
pub(in crate::commands) enum End {
    /// The model ended it; the reason, where it is one that this client knows.
    Done(Option<FinishReason>),
    /// The server will not take this question.
    Refused(String),
    Failed(String),
    TimedOut,
    Expired,
    Cancelled,
    Unreachable(String),
    Interrupted,
    /// Whoever read standard output went away.
    NobodyReads,
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
            Self::NobodyReads => 141,
        }
    }

    /// Says on standard error what the text does not show.
    pub(in crate::commands) fn report(&self) {
        match self {
            Self::Done(Some(FinishReason::Length)) => {
                say("the answer ends here because it has as many tokens as it may");
            }
            Self::Done(Some(FinishReason::ContentFilter)) => {
                say("the answer ends here because a filter of the model's provider cut it");
            }
            Self::Done(Some(FinishReason::Stop | FinishReason::ToolCalls) | None) | Self::NobodyReads => {}
            Self::Refused(message) | Self::Failed(message) | Self::Unreachable(message) => say(message),
            Self::TimedOut => say("the generation took too long and was ended"),
            Self::Expired => say("no worker began in time: try again, or start more workers"),
            Self::Cancelled => say("the generation was stopped"),
            Self::Interrupted => say("stopped"),
        }
    }
}
