//! A queue with one planted defect, on top of a sound one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use testkit::wrapped::QueueHooks;
use tokenwire_core::{GenerationId, Job, JobQueue, Lease, QueueError, job_queue::LeaseHandle};

use crate::Defect;

#[derive(Debug)]
pub(crate) struct FlawedQueue {
    queue: Arc<dyn JobQueue>,
    defect: Defect,
    leases: Arc<Leases>,
}

/// What is leased, by generation and number.
#[derive(Debug, Default)]
struct Leases(Mutex<BTreeMap<(GenerationId, u64), Lease>>);

impl Leases {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(GenerationId, u64), Lease>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, lease: Lease) -> (GenerationId, u64) {
        let mut leases = self.lock();
        let number = leases
            .last_key_value()
            .map_or(0, |_| leases.keys().map(|(_, number)| number + 1).max().unwrap_or(0));
        let key = (lease.job().id, number);
        leases.insert(key, lease);
        key
    }
}

impl FlawedQueue {
    pub(crate) fn new(queue: Arc<dyn JobQueue>, defect: Defect) -> Self {
        Self { queue, defect, leases: Arc::default() }
    }

    fn hold(&self, lease: Lease) -> Lease {
        let job = lease.job().clone();
        let key = self.leases.keep(lease);
        let hold = FlawedHold { key, leases: Arc::clone(&self.leases), defect: self.defect };
        Lease::new(job, Box::new(hold))
    }
}

#[async_trait]
impl QueueHooks for FlawedQueue {
    fn queue(&self) -> &dyn JobQueue {
        &*self.queue
    }

    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        if self.defect == Defect::EnqueueLost {
            return Ok(());
        }
        self.queue.enqueue(job).await
    }

    async fn lease(&self) -> Result<Lease, QueueError> {
        let lease = self.queue.lease().await?;
        if self.defect == Defect::AckAtLease {
            let job = lease.job().clone();
            lease.ack().await?;
            return Ok(Lease::new(job, Box::new(Nothing)));
        }
        Ok(self.hold(lease))
    }

    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        loop {
            let lease = self.queue.dead_letter().await?;
            if self.defect != Defect::DeadLetterDropped {
                return Ok(self.hold(lease));
            }
            lease.ack().await?;
        }
    }
}

/// Settles nothing.
#[derive(Debug)]
struct Nothing;

#[async_trait]
impl LeaseHandle for Nothing {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        Ok(())
    }

    async fn retry(self: Box<Self>, _after: Duration) -> Result<(), QueueError> {
        Ok(())
    }
}

#[derive(Debug)]
struct FlawedHold {
    key: (GenerationId, u64),
    leases: Arc<Leases>,
    defect: Defect,
}

impl FlawedHold {
    fn take(&self) -> Option<Lease> {
        self.leases.lock().remove(&self.key)
    }

    /// The other leases of the same generation.
    fn take_copies(&self) -> Vec<Lease> {
        let mut leases = self.leases.lock();
        let id = self.key.0;
        let keys: Vec<_> = leases.range((id, 0)..=(id, u64::MAX)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| leases.remove(key)).collect()
    }
}

#[async_trait]
impl LeaseHandle for FlawedHold {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        let Some(lease) = self.take() else { return Ok(()) };
        match self.defect {
            Defect::AckForgotten => return lease.retry(Duration::from_secs(1)).await,
            Defect::CopiesAcked => {
                for copy in self.take_copies() {
                    copy.ack().await?;
                }
            }
            _ => {}
        }
        lease.ack().await
    }

    async fn retry(self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        match self.take() {
            Some(lease) => lease.retry(after).await,
            None => Ok(()),
        }
    }
}

impl Drop for FlawedHold {
    fn drop(&mut self) {
        let lease = self.take();
        if self.defect == Defect::LeaseDropLosesJob {
            // Never dropped, it never gives its job back.
            std::mem::forget(lease);
        }
    }
}
