//! The job that the queue holds.

use crate::{epoch::Epoch, id::GenerationId, request::GenerateRequest};

/// A generation that waits for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The id of the generation.
    pub id: GenerationId,
    /// The request, for workers of older versions. `None` when the job has none that this version can read. The stream has it
    /// too ([`crate::token_log::StreamSpec::request`]).
    pub request: Option<GenerateRequest>,
    /// The epoch of its stream. `None` when the job has none: it then belongs to the current stream of the id.
    pub epoch: Option<Epoch>,
}
