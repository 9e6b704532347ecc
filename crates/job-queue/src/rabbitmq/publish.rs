//! The way in: jobs to the broker, each confirmed before its caller learns that it is stored (I9). A retried job comes this
//! way again: its message is sent to a delay queue, confirmed like a new one.
//!
//! Nothing is published on a connection that consumes: while the broker has an alarm it reads nothing from a connection
//! that publishes, and so would not see acknowledgements either.
//!
//! One task publishes for the whole process, on one channel. A channel for each request would run into the broker's limit
//! of channels; and a channel shared by several threads would mix up confirmations, because lapin numbers a message and
//! queues its frames in two steps.

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

/// Jobs that wait for the publishing task, and jobs that wait for their confirmation: each some milliseconds' worth of a
/// fast broker. Whoever comes next waits until its time is up, so a slow broker costs little memory.
const IN_FLIGHT: usize = 1024;

/// Waits before a message that the broker refused is offered again: a queue elects a leader in some hundred milliseconds.
const REFUSED: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// Stores jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    orders: mpsc::Sender<Order>,
    link: Link,
    timeout: Duration,
    depth: Arc<Depth>,
}

/// One message to be stored, and who wants to know. Dropping it says that the connection was lost.
#[derive(Debug)]
struct Order {
    to: ShortString,
    message: Vec<u8>,
    properties: BasicProperties,
    answer: oneshot::Sender<Result<(), LinkError>>,
}

impl Publisher {
    /// A publisher, and what does its work until `stop` fires.
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

    /// Stores a job. Once the job is handed over, dropping the future changes nothing about what becomes of it.
    pub(super) async fn publish(&self, job: &Job) -> Result<(), QueueError> {
        let to = self.link.topology().jobs.clone();
        self.store(to, message::encode(job), properties(job.id)).await.map_err(QueueError::unavailable)
    }

    /// Stores a job again, the very bytes of its message, so that it comes back no sooner than `after` from now.
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

/// The publishing end of the link.
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

    /// From the start, so that the first prompt finds a connection, and readiness means something.
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
            // Receiving and changes may be dropped and taken up again; confirmations stay in `in_flight`.
            tokio::select! {
                Ok(()) = state.changed() => {
                    if matches!(*state.borrow(), State::Blocked(_)) {
                        // The broker reads nothing until its alarm ends. Those who wait may as well know.
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

/// Stores one message and answers. An error is one of the connection, which then has to be given up.
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
            // `mandatory`: without it a message for a queue that is gone would be dropped, and confirmed.
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
    // Whoever waited for the answer may be gone; the job is stored or not all the same.
    match outcome {
        Ok(Ok(Confirmation::Ack(None))) => {
            // What waits for its retry is counted when the broker hands it on.
            if queue == *jobs {
                depth.stored();
            }
            let _ = answer.send(Ok(()));
            Ok(())
        }
        // One connection later the queue is declared again.
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

/// What operators and other consumers see beside the message. Trace context belongs here, in the headers.
fn properties(id: GenerationId) -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(id.to_string().into())
        // For people: nothing compares it, so it need not be a time that tests own.
        .with_timestamp(SystemClock.now().as_millis() / 1000)
}
