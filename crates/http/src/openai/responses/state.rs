//! How far a response has come.

use tokenwire_core::{FinishReason, Timestamp, Usage};

use crate::front::problem::Problem;

/// How far a response has come.
#[derive(Debug)]
pub(super) enum State {
    Waiting,
    Running,
    Ended { at: Timestamp, end: End },
}

#[derive(Debug)]
pub(super) enum End {
    Finished { reason: FinishReason, usage: Usage },
    Cancelled,
    Failed(Problem),
}

impl End {
    /// Whether the model said all that it wanted.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Finished { reason: FinishReason::Stop | FinishReason::ToolCalls, .. })
    }
}
