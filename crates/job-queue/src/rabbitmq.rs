//! The job queue on RabbitMQ, 3.10 or newer.
//!
//! A quorum queue of persistent messages; a job counts as stored once the broker has confirmed it, and it stays with the
//! broker until its lease is settled. Publishing and each kind of consuming have a connection of their own, kept for
//! ever by `link`; what moves on them is in `publish` and `consume`, and where it goes in `topology`.
//!
//! There is no counter of attempts here (I4). A job that reaches the broker's delivery limit arrives at
//! [`JobQueue::dead_letter`], and is stored again if its generation has not ended.
//!
//! A job to be retried waits in a delay queue of the broker, and neither fills the prefetch nor counts as a delivery; see
//! `delay` for how long. A worker that dies, or drops a lease, gives its jobs back at once.

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

/// A job queue on a RabbitMQ broker. Dropping it ends its tasks and closes its connections; leased jobs go back.
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
    /// Begins to connect, and keeps doing so for ever: a broker that is away is no reason to fail here, and
    /// [`JobQueue::ready`] says what is wrong. Connections for leasing are made when somebody first wants a job.
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

    /// Closes the connections, and waits until the broker knows, a second at most: jobs that are still leased are
    /// somebody else's at once. Nothing works afterwards.
    pub async fn close(&self) {
        self.stop.token().cancel();
        self.tasks.wait().await;
    }
}

#[async_trait]
impl JobQueue for RabbitMq {
    /// Many at once share one channel. When the broker neither confirms nor refuses in [`Config::confirm_timeout`], the
    /// job may or may not be stored.
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        self.publisher.publish(job).await
    }

    /// What the broker counted a second ago, and what this process has stored since. What other processes store is missing until
    /// the next look; what workers take is.
    fn waiting(&self) -> usize {
        self.publisher.depth().waiting()
    }

    /// Waits also while the broker is away.
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
