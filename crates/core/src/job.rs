//! What the queue holds.

use crate::{clock::Timestamp, id::GenerationId, request::GenerateRequest};

/// One generation to be run: which one, and what an older worker needs to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which generation.
    pub id: GenerationId,
    /// What to ask the model. `None` when the job does not say, or not in a form that this version reads: the stream has it
    /// ([`crate::token_log::StreamSpec::request`]).
    pub request: Option<GenerateRequest>,
    /// When it is too late to begin. A generation that has begun may finish. The same instant as its stream's
    /// [`crate::token_log::StreamSpec::start_by`], which tells it from jobs that were stored for another stream of this id.
    /// `None` when the job does not say: it belongs to the stream that has its id now.
    pub expires_at: Option<Timestamp>,
}
