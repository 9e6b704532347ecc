//! What the queue holds.

use crate::{clock::Timestamp, id::GenerationId, request::GenerateRequest};

/// One generation to be run. Everything a worker needs that is not in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which generation.
    pub id: GenerationId,
    /// What to ask the model.
    pub request: GenerateRequest,
    /// When it is too late to begin. A generation that has begun may finish. The same instant as its stream's
    /// [`crate::token_log::StreamSpec::start_by`], which tells it from jobs that were stored for another stream of this id.
    pub expires_at: Timestamp,
}
