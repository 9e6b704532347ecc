//! The job queue on RabbitMQ, 3.10 or newer.
//!
//! A quorum queue of persistent messages. A job is stored when the broker has confirmed it, and stays with the broker until
//! its lease is settled. Publishing and each kind of consuming have a connection of their own, kept by `link`. See
//! `publish`, `consume` and `topology`.
//!
//! Attempts are not counted here (I4). A job that reaches the broker's delivery limit arrives at [`JobQueue::dead_letter`],
//! and is stored again if its generation has not ended.
//!
//! A job to be retried waits in a delay queue of the broker (`delay`). It does not fill the prefetch and does not count as
//! a delivery. A worker that dies or drops a lease returns its jobs at once.

mod config;
mod consume;
mod delay;
mod depth;
mod link;
mod link_error;
mod publish;
mod topology;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokenwire_core::{Job, JobQueue, Lease, QueueError};
use tokio::time::timeout;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub use config::{Address, Config, InvalidAddress, InvalidQueueName, QueueName};
use consume::{Source, Subscription};
use link::Broker;
use link_error::LinkError;
use publish::Publisher;
use topology::Topology;

/// A job queue on a RabbitMQ broker. Dropping it ends its tasks, closes its connections and returns leased jobs.
#[derive(Debug)]
pub struct RabbitMq {
    publisher: Publisher,
    jobs: Subscription,
    dead_letters: Subscription,
    confirm_timeout: Duration,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl RabbitMq {
    /// Begins to connect, and retries in the background. [`JobQueue::ready`] says whether the broker is available.
    /// Connections for leasing are made when a job is first wanted.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(config: Config) -> Self {
        let Config { prefetch, confirm_timeout, .. } = config;
        let broker = Arc::new(Broker { topology: Topology::new(&config), address: config.address });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let subscribe = |source| {
            let (subscription, work) =
                Subscription::new(Arc::clone(&broker), source, config.default_model.clone(), stop.clone());
            tasks.spawn(work);
            subscription
        };
        let (publisher, work) = Publisher::new(Arc::clone(&broker), confirm_timeout, stop.clone());
        tasks.spawn(work);
        let jobs = subscribe(Source::Jobs { prefetch: prefetch.get(), publisher: publisher.clone() });
        let dead_letters = subscribe(Source::DeadLetters);
        tasks.close();
        Self { publisher, jobs, dead_letters, confirm_timeout, tasks, stop: stop.drop_guard() }
    }

    /// Closes the connections, within a second. Leased jobs return to the queue at once. The queue cannot be used
    /// afterwards.
    pub async fn close(&self) {
        self.stop.token().cancel();
        self.tasks.wait().await;
    }
}

#[async_trait]
impl JobQueue for RabbitMq {
    /// Concurrent calls share one channel. If the broker does not answer within [`Config::confirm_timeout`], the outcome is
    /// unknown.
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        self.publisher.publish(job).await
    }

    /// The broker's count of up to a second ago, plus what this process has stored since. It lacks what other processes
    /// stored, and includes what workers leased, since then.
    fn waiting(&self) -> usize {
        self.publisher.depth().waiting()
    }

    /// Waits also while the broker is unavailable.
    async fn lease(&self) -> Result<Lease, QueueError> {
        self.jobs.lease().await
    }

    /// See [`Self::lease`].
    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        self.dead_letters.lease().await
    }

    async fn ready(&self) -> Result<(), QueueError> {
        let links = async {
            for link in [self.publisher.link(), self.jobs.link(), self.dead_letters.link()] {
                link.usable().await?;
            }
            Ok(())
        };
        let slow = |_| {
            Err(LinkError::new(format!("RabbitMQ at {} does not answer", self.publisher.link().address())))
        };
        timeout(self.confirm_timeout, links).await.unwrap_or_else(slow).map_err(QueueError::unavailable)
    }
}
