//! Stores dead letters again: jobs that the queue has given up on.
//!
//! A queue counts deliveries. Outages and restarts can exceed its limit although the generation is fine, so the count ends
//! nothing (I11). A dead letter whose stream is not sealed is stored again. The worker that leases it decides by the log. Dead
//! letters are handled concurrently, and none waits for the owner of its stream.

use std::{num::NonZeroUsize, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Worker,
    job_request::{Unreadable, request_of},
    report_panic, report_unsettled, retry_forever,
};
use crate::{
    error::{BoxError, explain},
    event::{Failure, Seq},
    follow::end,
    id::GenerationId,
    job::Job,
    job_queue::Lease,
    metrics,
    token_log::{LogError, Phase},
};

/// How many dead letters are handled at once. Each takes some round trips.
const AT_ONCE: usize = 16;

/// When a dead letter is delivered again after it could not be stored.
const AGAIN: Duration = Duration::from_secs(5);

impl Worker {
    /// Stores dead letters again until `soft` fires.
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
                lease = retry_forever("lease a dead letter", || self.queue.dead_letter()), if requeues.len() < AT_ONCE => lease,
            };
            let worker = self.clone();
            requeues.spawn(async move { worker.requeue(lease).await });
        }
        // A dropped lease comes back.
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
                tracing::warn!(generation.id = %id, error, "could not read the generation of a dead letter");
                lease.retry(AGAIN).await
            }
        };
        report_unsettled(id, settled);
    }

    /// The job to store in place of a dead letter. `None` when its generation needs none, or was ended here.
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
        match request_of(&*self.log, dead).await? {
            Ok(request) => return Ok(Some(Job { id: dead.id, request: Some(request), epoch })),
            // A worker of that version can read it.
            Err(Unreadable::Newer) => return Ok(Some(Job { id: dead.id, request: None, epoch })),
            Err(Unreadable::Missing) if page.phase.has_owner() => {
                // Another worker runs it. Retry, in case that worker dies.
                return Err("its job cannot be read, and another worker runs it".into());
            }
            Err(Unreadable::Missing) => self.end_lost(dead.id).await?,
        }
        Ok(None)
    }

    /// Ends a generation whose stream or request cannot be read. A stream that is too damaged to be sealed stays open; its
    /// readers get the damage.
    pub(super) async fn end_lost(&self, id: GenerationId) -> Result<(), LogError> {
        tracing::error!(generation.id = %id, "ended a generation as lost: its stream or its request cannot be read");
        match end(&*self.log, id, &Failure::Lost).await {
            Err(LogError::NotFound(_) | LogError::Damaged(_)) => Ok(()),
            ended => ended,
        }
    }
}
