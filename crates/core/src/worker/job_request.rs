//! The request of a job, which older and newer versions store in different places.

use crate::{
    job::Job,
    request::GenerateRequest,
    token_log::{LogError, TokenLog},
};

/// The request of a job, or else of its stream.
pub(super) async fn request_of(
    log: &dyn TokenLog,
    job: &Job,
) -> Result<Result<GenerateRequest, Unreadable>, LogError> {
    if let Some(request) = &job.request {
        return Ok(Ok(request.clone()));
    }
    let stored = log.spec(job.id).await?.request;
    if stored.is_empty() {
        return Ok(Err(Unreadable::Missing));
    }
    Ok(GenerateRequest::decode(&stored).map_err(|error| {
        tracing::warn!(generation.id = %job.id, %error, "cannot read the request of a stream");
        Unreadable::Newer
    }))
}

/// Why there is no request for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A newer version wrote it. Workers of that version can read it.
    Newer,
    /// Neither the job nor the stream has one.
    Missing,
}
