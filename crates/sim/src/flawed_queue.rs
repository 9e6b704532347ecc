//! A queue with one planted defect, on top of a sound one.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokenwire_core::{Job, JobQueue, Lease, QueueError, job_queue::Hold};

use crate::Defect;

#[derive(Debug)]
pub(crate) struct FlawedQueue {
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) defect: Defect,
}

#[async_trait]
impl JobQueue for FlawedQueue {
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        if self.defect == Defect::EnqueueLost {
            return Ok(());
        }
        self.queue.enqueue(job).await
    }

    fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    async fn lease(&self) -> Result<Lease, QueueError> {
        let lease = self.queue.lease().await?;
        let job = lease.job().clone();
        if self.defect == Defect::AckAtLease {
            lease.ack().await?;
            return Ok(Lease::new(job, Box::new(FlawedHold { lease: None, defect: self.defect })));
        }
        Ok(Lease::new(job, Box::new(FlawedHold { lease: Some(lease), defect: self.defect })))
    }

    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        self.queue.dead_letter().await
    }

    async fn ready(&self) -> Result<(), QueueError> {
        self.queue.ready().await
    }
}

#[derive(Debug)]
struct FlawedHold {
    lease: Option<Lease>,
    defect: Defect,
}

#[async_trait]
impl Hold for FlawedHold {
    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        match self.lease.take() {
            Some(lease) if self.defect == Defect::AckForgotten => lease.retry(Duration::from_secs(1)).await,
            Some(lease) => lease.ack().await,
            None => Ok(()),
        }
    }

    async fn retry(mut self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        match self.lease.take() {
            Some(lease) => lease.retry(after).await,
            None => Ok(()),
        }
    }
}

impl Drop for FlawedHold {
    fn drop(&mut self) {
        if self.defect == Defect::LeaseDropLosesJob {
            // Never dropped, it never gives its job back.
            std::mem::forget(self.lease.take());
        }
    }
}
