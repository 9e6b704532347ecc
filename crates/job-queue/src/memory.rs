//! The queue in memory: the reference for the contract of [`JobQueue`], and the queue of `--ephemeral`.
//!
//! It keeps the whole contract, except that it ends with its process.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokenwire_core::{Job, JobQueue, Lease, QueueError, job_queue::LeaseHandle};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// A queue of jobs in memory.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    jobs: Mutex<Jobs>,
    /// Wakes one waiting caller, or all when the next due time has changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Jobs {
    ready: VecDeque<Job>,
    /// Jobs to be retried, by due time and then in order of arrival.
    later: BTreeMap<(Instant, u64), Job>,
    arrivals: u64,
}

impl Jobs {
    fn take(&mut self, now: Instant) -> Option<Job> {
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= now
        {
            self.ready.push_back(entry.remove());
        }
        self.ready.pop_front()
    }

    fn next_due(&self) -> Option<Instant> {
        self.later.first_key_value().map(|((due, _), _)| *due)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // Nothing panics while it holds the lock.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl JobQueue for MemoryQueue {
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        self.shared.lock().ready.push_back(job.clone());
        self.shared.changed.notify_one();
        Ok(())
    }

    fn waiting(&self) -> usize {
        let jobs = self.shared.lock();
        jobs.ready.len() + jobs.later.len()
    }

    async fn lease(&self) -> Result<Lease, QueueError> {
        loop {
            // Listen first, look second. A dropped listener passes its wake-up on.
            let mut changed = pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            let due = {
                let mut jobs = self.shared.lock();
                if let Some(job) = jobs.take(Instant::now()) {
                    let hold = MemoryLease { job: Some(job.clone()), shared: Arc::clone(&self.shared) };
                    return Ok(Lease::new(job, Box::new(hold)));
                }
                jobs.next_due()
            };
            match due {
                Some(due) => tokio::select! {
                    // Polled first, so that a wake-up that comes with the due time is not lost.
                    biased;
                    () = changed => {}
                    () = sleep_until(due) => {}
                },
                None => changed.await,
            }
        }
    }

    /// This queue has no dead letters.
    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        std::future::pending().await
    }

    async fn ready(&self) -> Result<(), QueueError> {
        Ok(())
    }
}

/// A leased job.
#[derive(Debug)]
struct MemoryLease {
    /// `None` after it is settled.
    job: Option<Job>,
    shared: Arc<Shared>,
}

#[async_trait]
impl LeaseHandle for MemoryLease {
    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        self.job = None;
        Ok(())
    }

    async fn retry(mut self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        if let Some(job) = self.job.take() {
            let mut jobs = self.shared.lock();
            jobs.arrivals += 1;
            let place = (Instant::now() + after, jobs.arrivals);
            jobs.later.insert(place, job);
            drop(jobs);
            // Wake all: the caller that would be woken at the due time may be gone by then.
            self.shared.changed.notify_waiters();
        }
        Ok(())
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            self.shared.lock().ready.push_front(job);
            self.shared.changed.notify_one();
        }
    }
}
