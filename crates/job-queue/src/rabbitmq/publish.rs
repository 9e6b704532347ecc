//! Stores jobs at the broker. Each is confirmed before its caller gets `Ok` (I9). A retried job takes the same way: its
//! message goes to a delay queue and is confirmed like a new one.
//!
//! Nothing is published on a connection that consumes: while the broker has an alarm, it reads nothing from a publishing
//! connection, and would not see acknowledgements.
//!
//! One task publishes for the whole process, on one channel. A channel for each request would exceed the broker's limit. A
//! channel shared by threads would mix up confirmations, because lapin numbers a message and queues its frames in two
//! steps.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use tokenwire_core::{Clock, GenerationId, Job, QueueError, SystemClock, retry::Backoff};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    delay::{self, PERSISTENT},
    depth::Depth,
    link::{Broker, Link, Session, State},
    link_error::LinkError,
};
use crate::message;

/// The maximum number of jobs that wait for the task, and of jobs that wait for their confirmation: some milliseconds of a
/// fast broker. Further callers wait until their time-out, so a slow broker costs little memory.
const IN_FLIGHT: usize = 1024;

/// Waits before a refused message is sent again. A queue elects a leader in some hundred milliseconds.
const REFUSED: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// Stores jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    orders: mpsc::Sender<Order>,
    link: Link,
    timeout: Duration,
    depth: Arc<Depth>,
}

/// A message to be stored. Dropping it reports a lost connection.
#[derive(Debug)]
struct Order {
    to: ShortString,
    message: Vec<u8>,
    properties: BasicProperties,
    answer: oneshot::Sender<Result<(), LinkError>>,
}

impl Publisher {
    /// A publisher, and its task, which runs until `stop` fires.
    pub(super) fn new(
        broker: Arc<Broker>,
        timeout: Duration,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (orders, queue) = mpsc::channel(IN_FLIGHT);
        let depth = Arc::<Depth>::default();
        let jobs = broker.topology.jobs.clone();
        let session = Publishing { orders: queue, jobs, timeout, depth: Arc::clone(&depth) };
        let (link, work) = Link::new(broker, session, stop);
        (Self { orders, link, timeout, depth }, work)
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn depth(&self) -> &Depth {
        &self.depth
    }

    /// Stores a job. A job that was handed to the task is stored even if this future is dropped.
    pub(super) async fn publish(&self, job: &Job) -> Result<(), QueueError> {
        let to = self.link.topology().jobs.clone();
        self.store(to, message::encode(job), properties(job.id)).await.map_err(QueueError::unavailable)
    }

    /// Stores the unchanged message of a job again, to come back no sooner than `after` from now.
    pub(super) async fn publish_again(
        &self,
        message: Vec<u8>,
        properties: &BasicProperties,
        after: Duration,
    ) -> Result<(), LinkError> {
        let (step, rest) = delay::plan(after);
        let topology = self.link.topology();
        let to = step.map_or(&topology.jobs, |step| topology.retry(step)).clone();
        self.store(to, message, delay::properties(properties, rest)).await
    }

    async fn store(
        &self,
        to: ShortString,
        message: Vec<u8>,
        properties: BasicProperties,
    ) -> Result<(), LinkError> {
        let stored = async {
            self.link.usable().await?;
            let (answer, stored) = oneshot::channel();
            let order = Order { to, message, properties, answer };
            self.orders.send(order).await.map_err(|_| self.link.loss())?;
            stored.await.unwrap_or_else(|_| Err(self.link.loss()))
        };
        let late = |_| Err(late(self.link.address(), self.timeout));
        timeout(self.timeout, stored).await.unwrap_or_else(late)
    }
}

fn late(broker: impl std::fmt::Display, timeout: Duration) -> LinkError {
    LinkError::new(format!("RabbitMQ at {broker} did not confirm the job within {timeout:?}"))
}

/// The publishing session of the link.
struct Publishing {
    orders: mpsc::Receiver<Order>,
    jobs: ShortString,
    timeout: Duration,
    depth: Arc<Depth>,
}

impl Session for Publishing {
    fn role(&self) -> &'static str {
        "publisher"
    }

    /// From the start, so that the first prompt finds a connection, and readiness is meaningful.
    fn is_wanted(&mut self) -> bool {
        true
    }

    async fn wanted(&mut self) {}

    async fn set_up(&mut self, channel: &Channel) -> Result<(), lapin::Error> {
        channel.confirm_select(ConfirmSelectOptions::default()).await
    }

    async fn run(&mut self, channel: &Channel, mut state: watch::Receiver<State>) -> LinkError {
        let mut in_flight = FuturesUnordered::new();
        let mut looking = pin!(self.depth.keep_looking(channel, &self.jobs));
        loop {
            // These can be dropped. Confirmations stay in `in_flight`.
            tokio::select! {
                Ok(()) = state.changed() => {
                    if matches!(*state.borrow(), State::Blocked(_)) {
                        // The broker reads nothing until its alarm ends. Fail the waiting callers.
                        in_flight.clear();
                    }
                }
                Some(order) = self.orders.recv(), if in_flight.len() < IN_FLIGHT => {
                    if !matches!(*state.borrow(), State::Blocked(_)) {
                        in_flight.push(publish(channel, &self.jobs, order, self.timeout, &self.depth));
                    }
                }
                Some(outcome) = in_flight.next() => {
                    if let Err(fault) = outcome {
                        return fault;
                    }
                }
                fault = &mut looking => return fault,
            }
        }
    }
}

/// Stores one message and answers. An error is one of the connection, which is then dropped.
async fn publish(
    channel: &Channel,
    jobs: &ShortString,
    order: Order,
    confirm_timeout: Duration,
    depth: &Depth,
) -> Result<(), LinkError> {
    let Order { to: queue, message, properties, answer } = order;
    let mut backoff = REFUSED;
    let mut refused = false;
    let confirmed = async {
        loop {
            // `mandatory`: otherwise a message for a missing queue would be dropped and confirmed.
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let exchange = ShortString::default();
            let sent =
                channel.basic_publish(exchange, queue.clone(), options, &message, properties.clone()).await?;
            match sent.await? {
                // Not stored: a new or moved queue has no leader yet.
                Confirmation::Nack(_) => {
                    refused = true;
                    sleep(backoff.advance()).await;
                }
                confirmation => return Ok::<_, lapin::Error>(confirmation),
            }
        }
    };
    let outcome = timeout(confirm_timeout, confirmed).await;
    // The caller may have gone. The job is stored or not all the same.
    match outcome {
        Ok(Ok(Confirmation::Ack(None))) => {
            // A job that waits for its retry is counted when it returns to the jobs queue.
            if queue == *jobs {
                depth.stored();
            }
            let _ = answer.send(Ok(()));
            Ok(())
        }
        // The next connection declares the queue again.
        Ok(Ok(Confirmation::Ack(Some(_)))) => {
            let gone = LinkError::new(format!("queue {queue} is gone from RabbitMQ"));
            let _ = answer.send(Err(gone.clone()));
            Err(gone)
        }
        Err(_) if refused => {
            let _ = answer.send(Err(LinkError::new(format!("queue {queue} on RabbitMQ stores nothing now"))));
            Ok(())
        }
        Ok(Ok(_)) => Err(LinkError::new("it confirms nothing")),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(LinkError::new(format!("no confirmation within {confirm_timeout:?}"))),
    }
}

/// Properties for operators and other consumers. Trace context belongs into the headers.
fn properties(id: GenerationId) -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(id.to_string().into())
        // For operators only, so it need not be the test clock.
        .with_timestamp(SystemClock.now().as_millis() / 1000)
}
