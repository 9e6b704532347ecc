//! The state of a response.

use tokenwire_core::{FinishReason, Timestamp, Usage};

use crate::front::problem::Problem;

/// The state of a response.
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
    /// Whether the answer is complete.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Finished { reason: FinishReason::Stop | FinishReason::ToolCalls, .. })
    }
}
