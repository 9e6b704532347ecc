//! What becomes of jobs that the queue has given up on.
//!
//! A queue counts deliveries. An outage of the log, or a worker that is restarted again and again, can reach its limit although
//! nothing is wrong with the generation. So its count is no outcome (I11). A dead letter whose stream is not sealed is stored
//! again, and the worker that leases it decides by what the log says. Dead letters are handled side by side, and none waits for
//! the owner of its stream.

use std::{num::NonZeroUsize, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Worker, report_panic, report_unsettled, retry_forever};
use crate::{
    error::{BoxError, explain},
    event::{Failure, Seq},
    follow::end,
    id::GenerationId,
    job::Job,
    job_queue::Lease,
    metrics,
    request::GenerateRequest,
    token_log::{LogError, Phase},
};

/// How many are handled at once: each is some round trips.
const AT_ONCE: usize = 16;

/// When a dead letter is looked at again that could not be stored again.
const AGAIN: Duration = Duration::from_secs(5);

impl Worker {
    /// Stores the jobs again that the queue has given up on, until `soft` fires.
    pub(super) async fn requeue_dead_letters(&self, soft: &CancellationToken) {
        let mut requeues = JoinSet::new();
        loop {
            let lease = tokio::select! {
                biased;
                () = soft.cancelled() => break,
                Some(ended) = requeues.join_next(), if !requeues.is_empty() => {
                    report_panic(ended);
                    continue;
                }
                lease = retry_forever("look for dead letters", || self.queue.dead_letter()), if requeues.len() < AT_ONCE => lease,
            };
            let worker = self.clone();
            requeues.spawn(async move { worker.requeue(lease).await });
        }
        // A lease that is dropped comes back.
        requeues.shutdown().await;
    }

    async fn requeue(&self, lease: Lease) {
        let id = lease.job().id;
        metrics::dead_lettered();
        let settled = match self.successor_of(lease.job()).await {
            Ok(None) => lease.ack().await,
            Ok(Some(job)) => match self.queue.enqueue(&job).await {
                Ok(()) => {
                    tracing::warn!(generation.id = %id, "the queue gave up on a job; stored it again");
                    lease.ack().await
                }
                Err(error) => {
                    tracing::warn!(generation.id = %id, error = %explain(&error), "could not store a dead letter again");
                    lease.retry(AGAIN).await
                }
            },
            Err(error) => {
                tracing::warn!(generation.id = %id, error, "could not look at a dead letter's generation");
                lease.retry(AGAIN).await
            }
        };
        report_unsettled(id, settled);
    }

    /// The job to store in place of a dead one. `None` when its generation needs none, or was ended here.
    async fn successor_of(&self, dead: &Job) -> Result<Option<Job>, BoxError> {
        let page = match self.log.read(dead.id, Seq::START, NonZeroUsize::MIN).await {
            Err(LogError::NotFound(_)) => return Ok(None),
            Err(LogError::Damaged(_)) => {
                metrics::damaged();
                self.end_lost(dead.id).await?;
                return Ok(None);
            }
            page => page?,
        };
        if page.phase == Phase::Sealed || dead.epoch.is_some_and(|of| of != page.epoch) {
            return Ok(None);
        }
        let epoch = Some(page.epoch);
        match self.request_of(dead).await? {
            Ok(request) => return Ok(Some(Job { id: dead.id, request: Some(request), epoch })),
            // A worker of that version will find it in the queue.
            Err(Unreadable::Newer) => return Ok(Some(Job { id: dead.id, request: None, epoch })),
            Err(Unreadable::Missing) if page.phase.has_owner() => {
                // It runs, from another job. Looked at again in case its owner dies.
                return Err("its job cannot be read, and another worker runs it".into());
            }
            Err(Unreadable::Missing) => self.end_lost(dead.id).await?,
        }
        Ok(None)
    }

    /// Ends a generation that cannot go on because its stream, or its request, cannot be read. A stream that is too damaged to
    /// be sealed stays open: its readers find the damage.
    pub(super) async fn end_lost(&self, id: GenerationId) -> Result<(), LogError> {
        tracing::error!(generation.id = %id, "ended a generation as lost: its stream or its request cannot be read");
        match end(&*self.log, id, &Failure::Lost).await {
            Err(LogError::NotFound(_) | LogError::Damaged(_)) => Ok(()),
            ended => ended,
        }
    }

    /// What to ask the model: as the job says, or else as the stream does.
    pub(super) async fn request_of(
        &self,
        job: &Job,
    ) -> Result<Result<GenerateRequest, Unreadable>, LogError> {
        if let Some(request) = &job.request {
            return Ok(Ok(request.clone()));
        }
        let stored = self.log.spec(job.id).await?.request;
        if stored.is_empty() {
            return Ok(Err(Unreadable::Missing));
        }
        Ok(GenerateRequest::decode(&stored).map_err(|error| {
            tracing::warn!(generation.id = %job.id, %error, "cannot read the request of a stream");
            Unreadable::Newer
        }))
    }
}

/// Why the request of a job is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A newer version has written it: its workers can read it.
    Newer,
    /// Neither the job nor the stream says it.
    Missing,
}
