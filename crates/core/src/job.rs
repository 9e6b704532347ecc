//! What the queue holds.

use crate::{epoch::Epoch, id::GenerationId, request::GenerateRequest};

/// One generation to be run: which one, and what an older worker needs to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which generation.
    pub id: GenerationId,
    /// What to ask the model. `None` when the job does not say, or not in a form that this version reads: the stream has it
    /// ([`crate::token_log::StreamSpec::request`]).
    pub request: Option<GenerateRequest>,
    /// Of which stream of this id. `None` when the job does not say: it belongs to the stream that has its id now.
    pub epoch: Option<Epoch>,
}
