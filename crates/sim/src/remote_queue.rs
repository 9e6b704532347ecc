//! The queue as one process sees it over a bad network, with a broker that delivers at least once and in some order.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use tokenwire_core::{GenerationId, Job, JobQueue, Lease, QueueError, job_queue::LeaseHandle};
use tokio::time::sleep;

use crate::{
    injector::{Node, Service},
    record::{Record, Rule},
};

#[derive(Debug)]
pub(crate) struct RemoteQueue {
    pub(crate) node: Node,
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) record: Arc<Record>,
    /// Of the worker.
    pub(crate) slots: usize,
}

impl RemoteQueue {
    /// A worker notices that it cannot reach the log by the jobs that it cannot work on. Then it takes no more.
    fn look_for_the_log(&self, id: GenerationId) {
        if !self.node.injector.is_long_away(Service::Log) {
            return;
        }
        let most = 2 * self.slots + 4;
        if self.node.life.leases_without_log.fetch_add(1, Ordering::Relaxed) == most {
            let what = format_args!("is leased by {}, which cannot reach the log", self.node.life.name);
            self.record.violation_of(id, Rule::I11, what);
        }
    }
}

#[async_trait]
impl JobQueue for RemoteQueue {
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        let stored = self.node.call(Service::Queue, self.queue.enqueue(job)).await;
        stored.unwrap_or_else(|cause| Err(QueueError::Unavailable(cause)))
    }

    fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    async fn lease(&self) -> Result<Lease, QueueError> {
        let injector = &self.node.injector;
        self.node.go_out(Service::Queue).await.map_err(QueueError::Unavailable)?;
        let lease = loop {
            let lease = self.queue.lease().await?;
            if !injector.hits(|rates| rates.job_late) {
                break lease;
            }
            lease.retry(injector.rng.millis(10..=3000)).await?;
        };
        if injector.hits(|rates| rates.job_twice) && injector.may_repeat_job() {
            self.queue.enqueue(lease.job()).await?;
        }
        self.node.come_back().await.map_err(QueueError::Unavailable)?;
        self.look_for_the_log(lease.job().id);
        let job = lease.job().clone();
        let lease = Arc::new(Mutex::new(Some(lease)));
        if injector.hits(|rates| rates.lease_lost) {
            let (theirs, time) = (Arc::clone(&lease), injector.rng.millis(0..=6000));
            injector.travelling.spawn(async move {
                sleep(time).await;
                drop(lock(&theirs).take());
            });
        }
        Ok(Lease::new(job, Box::new(RemoteHold { node: self.node.clone(), lease })))
    }

    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        self.node.go_out(Service::Queue).await.map_err(QueueError::Unavailable)?;
        let lease = self.queue.dead_letter().await?;
        self.node.come_back().await.map_err(QueueError::Unavailable)?;
        let job = lease.job().clone();
        let lease = Arc::new(Mutex::new(Some(lease)));
        Ok(Lease::new(job, Box::new(RemoteHold { node: self.node.clone(), lease })))
    }

    async fn ready(&self) -> Result<(), QueueError> {
        let ready = self.node.call(Service::Queue, self.queue.ready()).await;
        ready.unwrap_or_else(|cause| Err(QueueError::Unavailable(cause)))
    }
}

#[derive(Debug)]
struct RemoteHold {
    node: Node,
    /// None once the broker has taken the lease away: then settling it goes nowhere.
    lease: Arc<Mutex<Option<Lease>>>,
}

impl RemoteHold {
    async fn settle<F>(&self, how: impl FnOnce(Lease) -> F + Send) -> Result<(), QueueError>
    where
        F: Future<Output = Result<(), QueueError>> + Send,
    {
        let effect = async {
            let lease = lock(&self.lease).take();
            match lease {
                Some(lease) => how(lease).await,
                None => Ok(()),
            }
        };
        let settled = self.node.call(Service::Queue, effect).await;
        settled.unwrap_or_else(|cause| Err(QueueError::Unavailable(cause)))
    }
}

#[async_trait]
impl LeaseHandle for RemoteHold {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        self.settle(Lease::ack).await
    }

    async fn retry(self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        self.settle(|lease| lease.retry(after)).await
    }
}

impl Drop for RemoteHold {
    /// A broker notices that a process has died when its heartbeat fails.
    fn drop(&mut self) {
        let injector = &self.node.injector;
        if let Some(lease) = lock(&self.lease).take()
            && injector.hits(|rates| rates.unnoticed)
        {
            let time = injector.rng.millis(0..=6000);
            injector.travelling.spawn(async move {
                sleep(time).await;
                drop(lease);
            });
        }
    }
}

fn lock(lease: &Mutex<Option<Lease>>) -> MutexGuard<'_, Option<Lease>> {
    // Nothing panics while it holds the lock.
    lease.lock().unwrap_or_else(PoisonError::into_inner)
}
