//! The port to the job queue: prompts that wait for a worker.
//!
//! The queue delivers each job at least once. A worker holds a job by its [`Lease`], and ends it in one of three ways: it
//! acknowledges the job, retries it, or drops the lease. Duplicates are harmless because of the log (I3, I5).

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::{BoxError, job::Job};

/// A durable queue of jobs. Implementations pass `testkit::conformance::job_queue`.
#[async_trait]
pub trait JobQueue: fmt::Debug + Send + Sync + 'static {
    /// Stores a job. Durable when it returns `Ok`. A job that is stored twice is delivered twice.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: the outcome is unknown.
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError>;

    /// How many jobs are stored and not leased. Jobs that wait for their retry may be missing, and for up to 2 s jobs that
    /// other processes stored. Jobs that this instance stored are never missing. No I/O: it is called for every prompt.
    fn waiting(&self) -> usize;

    /// Waits for a job and leases it. No other worker gets it while the lease lives. Jobs come in order of arrival, except
    /// for retries. Dropping the future loses no job.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: retry later.
    async fn lease(&self) -> Result<Lease, QueueError>;

    /// Waits for a dead letter (a job that the queue has given up on) and leases it. Dropping the future loses no job.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: retry later.
    async fn dead_letter(&self) -> Result<Lease, QueueError>;

    /// Whether the queue stores and delivers jobs now.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] with the reason, for operators.
    async fn ready(&self) -> Result<(), QueueError>;
}

/// The right to run a job. A lease that is dropped returns the job to the front of the queue at once. So does a dead process.
#[derive(Debug)]
#[must_use = "a dropped lease returns its job to the queue"]
pub struct Lease {
    job: Job,
    handle: Box<dyn LeaseHandle>,
}

impl Lease {
    /// A lease on `job`, settled through `handle`.
    pub fn new(job: Job, handle: Box<dyn LeaseHandle>) -> Self {
        Self { job, handle }
    }

    /// The job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Acknowledges the job. It never comes back after `Ok`.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: the job may come back. Its stream is sealed then.
    pub async fn ack(self) -> Result<(), QueueError> {
        self.handle.ack().await
    }

    /// Returns the job to the queue, to be delivered no sooner than `after` from now. It may then be behind jobs that were
    /// stored later. To return it to the front at once, drop the lease.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: the job comes back, maybe sooner.
    pub async fn retry(self, after: Duration) -> Result<(), QueueError> {
        self.handle.retry(after).await
    }
}

/// How an adapter settles a lease. Dropping it must return the job to the queue.
#[async_trait]
pub trait LeaseHandle: fmt::Debug + Send + Sync + 'static {
    /// See [`Lease::ack`].
    ///
    /// # Errors
    /// See [`Lease::ack`].
    async fn ack(self: Box<Self>) -> Result<(), QueueError>;

    /// See [`Lease::retry`].
    ///
    /// # Errors
    /// See [`Lease::retry`].
    async fn retry(self: Box<Self>, after: Duration) -> Result<(), QueueError>;
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The queue cannot be reached or cannot store. The outcome is unknown. Retry later.
    #[error("the job queue is unavailable")]
    Unavailable(#[source] BoxError),
}

impl QueueError {
    /// [`Self::Unavailable`] with this cause.
    pub fn unavailable(cause: impl Into<BoxError>) -> Self {
        Self::Unavailable(cause.into())
    }
}
