//! The port to the job queue: prompts that wait for a worker.
//!
//! The queue delivers each job at least once and knows nothing of its outcome. A worker holds a job by its [`Lease`] and
//! gives it up in one of three ways: acknowledged, to be retried, or dropped. Exactly-once is the log's business (I3, I5).

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::{BoxError, job::Job};

/// A durable queue of jobs. Implementations pass `testkit::conformance::job_queue`.
#[async_trait]
pub trait JobQueue: fmt::Debug + Send + Sync + 'static {
    /// Stores a job. Durable when it returns `Ok`. Storing a job twice delivers it twice.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: the job may or may not be stored.
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError>;

    /// How many jobs wait for a worker now: stored, and leased by nobody; jobs that wait for their retry may count or not.
    /// Never fewer than this instance has stored and nobody has leased; what others stored may be missing for a second or
    /// two. Asked about for every prompt, so it costs nothing.
    fn waiting(&self) -> usize;

    /// Waits for a job and leases it: nobody else gets it while the lease lives. In order of arrival, as far as retries
    /// and several workers allow. Dropping the future loses no job.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: call again after a while.
    async fn lease(&self) -> Result<Lease, QueueError>;

    /// Waits for a job that the queue itself has given up on, and leases it so that it can be stored again. Dropping the
    /// future loses no job.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: call again after a while.
    async fn dead_letter(&self) -> Result<Lease, QueueError>;

    /// Whether the queue takes and gives jobs now.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] with the reason, for people.
    async fn ready(&self) -> Result<(), QueueError>;
}

/// A worker's hold on a job. Dropped unsettled, the job comes back at once; so does the job of a process that dies.
#[derive(Debug)]
#[must_use = "a dropped lease gives its job back"]
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

    /// Ends the job: it is done, and never comes back once this has returned `Ok`.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: the job may come back, to find its stream sealed.
    pub async fn ack(self) -> Result<(), QueueError> {
        self.handle.ack().await
    }

    /// Gives the job back, to be leased again no sooner than `after` from now. It may then be behind jobs that were stored
    /// later. Drop the lease instead to have it back at once and in front.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: the job comes back, maybe sooner.
    pub async fn retry(self, after: Duration) -> Result<(), QueueError> {
        self.handle.retry(after).await
    }
}

/// How an adapter settles a lease. Dropping it unsettled must give the job back.
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

/// Why the queue did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The queue cannot be reached or cannot store. What was asked may or may not have happened. Try again later.
    #[error("the job queue is unavailable")]
    Unavailable(#[source] BoxError),
}

impl QueueError {
    /// [`Self::Unavailable`] with this cause.
    pub fn unavailable(cause: impl Into<BoxError>) -> Self {
        Self::Unavailable(cause.into())
    }
}
