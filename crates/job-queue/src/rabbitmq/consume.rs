//! Leases jobs from a queue of the broker.
//!
//! One task talks to the broker. A caller that wants a job registers as a waiter. Every leased job has a small future in
//! the task, which waits until the lease is settled and tells the broker. A dropped lease closes its channel, and the job
//! returns to the queue.
//!
//! A job that waits for its retry keeps no delivery: the prefetch bounds deliveries, and a few retries of one busy model
//! would block all other jobs. Its message is stored again in a delay queue (`delay`), and the delivery is acknowledged
//! after the broker has confirmed that (I5). The copy is a new message to the broker, so a retry does not count towards the
//! delivery limit. A crash in between leaves both messages, which costs a second lease. While the broker stores nothing (an
//! alarm, a lost connection), the delivery is held for [`HELD_AT_MOST`], then returned.
//!
//! The broker sends jobs ahead, up to the prefetch, while there are waiters. A process that stops leasing (a draining
//! worker with free slots) returns the jobs that it was sent, so that they do not wait for it.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lapin::{
    Acker, BasicProperties, Channel, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
        BasicRejectOptions,
    },
    types::{FieldTable, ShortString},
};
use tokenwire_core::{Job, Lease, ModelName, QueueError, job_queue::LeaseHandle};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    delay,
    link::{Broker, Link, Session, State},
    link_error::LinkError,
    publish::Publisher,
};
use crate::{
    message::{self, DecodeError},
    metrics,
};

/// The capacity of the channel of new waiters. Further callers wait to register.
const MAX_WAITERS: usize = 64;

/// How long a job stays here without a waiter. Longer than a worker takes between two leases, and too short for a person to
/// notice.
const UNCLAIMED: Duration = Duration::from_secs(1);

/// How long a delivery is held when the broker does not store its retry. Short, because it fills the prefetch. Longer than
/// a reconnect takes.
const HELD_AT_MOST: Duration = Duration::from_secs(10);

/// The prefetch of dead letters. Each takes some round trips, or waits some seconds when it cannot be stored again.
const DEAD_LETTERS: u16 = 16;

/// The queue that a subscription consumes.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Jobs. The publisher stores jobs to be retried again.
    Jobs { prefetch: u16, publisher: Publisher },
    /// Dead letters. Those to be retried wait in this process: a delay queue would bring them back as jobs.
    DeadLetters,
}

/// Leases jobs from one queue. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    waiters: mpsc::Sender<oneshot::Sender<Lease>>,
    link: Link,
}

impl Subscription {
    /// A subscription, and its task, which runs until `stop` fires. It connects when a job is first wanted.
    pub(super) fn new(
        broker: Arc<Broker>,
        source: Source,
        default_model: ModelName,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (waiters, new_waiters) = mpsc::channel(MAX_WAITERS);
        let (queue, prefetch) = match source {
            Source::Jobs { prefetch, .. } => (broker.topology.jobs.clone(), prefetch),
            Source::DeadLetters => (broker.topology.dead.clone(), DEAD_LETTERS),
        };
        let session =
            Dispatcher { source, queue, prefetch, default_model, new_waiters, waiters: VecDeque::new() };
        let (link, work) = Link::new(broker, session, stop);
        (Self { waiters, link }, work)
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Waits for a job, also while the broker is unavailable. A job for a dropped future returns to the queue.
    pub(super) async fn lease(&self) -> Result<Lease, QueueError> {
        let (waiter, lease) = oneshot::channel();
        let closed = || QueueError::unavailable(self.link.loss());
        self.waiters.send(waiter).await.map_err(|_| closed())?;
        lease.await.map_err(|_| closed())
    }
}

/// The consuming session of the link.
struct Dispatcher {
    source: Source,
    queue: ShortString,
    prefetch: u16,
    default_model: ModelName,
    new_waiters: mpsc::Receiver<oneshot::Sender<Lease>>,
    /// Callers that wait for a job, first come, first served. They outlive connections.
    waiters: VecDeque<oneshot::Sender<Lease>>,
}

/// The unsettled messages of one connection.
#[derive(Default)]
struct Deliveries {
    /// Jobs without a waiter.
    unclaimed: VecDeque<Lease>,
    since: Option<Instant>,
    /// One future for each unsettled message. The prefetch bounds them. After a pause the leased ones come on top, because
    /// the broker counts for the new consumer only.
    unsettled: FuturesUnordered<BoxFuture<'static, Result<(), lapin::Error>>>,
}

impl Session for Dispatcher {
    fn role(&self) -> &'static str {
        match self.source {
            Source::Jobs { .. } => "jobs",
            Source::DeadLetters => "dead letters",
        }
    }

    fn is_wanted(&mut self) -> bool {
        while let Ok(waiter) = self.new_waiters.try_recv() {
            self.waiters.push_back(waiter);
        }
        self.waiters.retain(|waiter| !waiter.is_closed());
        !self.waiters.is_empty()
    }

    async fn wanted(&mut self) {
        match self.new_waiters.recv().await {
            Some(waiter) => self.waiters.push_back(waiter),
            None => std::future::pending().await,
        }
    }

    async fn set_up(&mut self, channel: &Channel) -> Result<(), lapin::Error> {
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await
    }

    async fn run(&mut self, channel: &Channel, _: watch::Receiver<State>) -> LinkError {
        let Err(fault) = self.dispatch_until_lost(channel).await;
        fault
    }
}

impl Dispatcher {
    async fn dispatch_until_lost(&mut self, channel: &Channel) -> Result<Infallible, LinkError> {
        let mut sent = Deliveries::default();
        let mut consumer = None;
        loop {
            self.dispatch(&mut sent);
            if consumer.is_none() && !self.waiters.is_empty() {
                let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
                consumer = Some(
                    channel.basic_consume(self.queue.clone(), tag, options, FieldTable::default()).await?,
                );
            }
            // Each of these can be dropped.
            tokio::select! {
                delivery = next(&mut consumer) => self.take(delivery?, &mut sent),
                Some(waiter) = self.new_waiters.recv() => self.waiters.push_back(waiter),
                Some(settled) = sent.unsettled.next() => settled?,
                () = sleep_until_unclaimed(sent.since) => {
                    if let Some(consumer) = consumer.take() {
                        self.pause(channel, consumer, &mut sent).await?;
                    }
                }
            }
        }
    }

    /// Hands jobs to waiters, first come, first served.
    fn dispatch(&mut self, sent: &mut Deliveries) {
        self.waiters.retain(|waiter| !waiter.is_closed());
        while let Some(waiter) = self.waiters.pop_front() {
            let Some(lease) = sent.unclaimed.pop_front() else {
                self.waiters.push_front(waiter);
                break;
            };
            // The waiter may have gone.
            if let Err(lease) = waiter.send(lease) {
                sent.unclaimed.push_front(lease);
            }
        }
        sent.since =
            if sent.unclaimed.is_empty() { None } else { sent.since.or_else(|| Some(Instant::now())) };
    }

    fn take(&self, delivery: Delivery, sent: &mut Deliveries) {
        if let Source::Jobs { publisher, .. } = &self.source {
            let rest = delay::rest(&delivery);
            if !rest.is_zero() {
                // It comes from a delay queue, and has to wait longer.
                let (publisher, message) = (publisher.clone(), Message::of(delivery));
                let (told, _) = oneshot::channel();
                sent.unsettled.push(async move { message.store_again(&publisher, rest, told).await }.boxed());
                return;
            }
        }
        match message::decode(&delivery.data, Some(&self.default_model)) {
            Ok(job) => self.offer(job, delivery, sent),
            Err(error) => {
                metrics::undecodable();
                match error.job() {
                    Some(job) => {
                        tracing::error!(
                            generation.id = %job.id, queue = %self.queue, %error,
                            "cannot read a job; its stream may have the request"
                        );
                        self.offer(job, delivery, sent);
                    }
                    None => self.put_aside(&error, &delivery, sent),
                }
            }
        }
    }

    /// Makes a lease from a message.
    fn offer(&self, job: Job, delivery: Delivery, sent: &mut Deliveries) {
        let (settlement, decided) = oneshot::channel();
        sent.unclaimed.push_back(Lease::new(job, Box::new(RabbitLease { settlement })));
        let (source, message) = (self.source.clone(), Message::of(delivery));
        sent.unsettled.push(message.settle(decided, source).boxed());
    }

    /// Rejects a message that is not a job and names no generation. It goes to the dead-letter queue.
    fn put_aside(&self, error: &DecodeError, delivery: &Delivery, sent: &mut Deliveries) {
        tracing::error!(queue = %self.queue, %error, "a message is not a job; moving it to the dead-letter queue");
        let acker = delivery.acker.clone();
        let reject = async move { acker.reject(BasicRejectOptions { requeue: false }).await.map(drop) };
        sent.unsettled.push(reject.boxed());
    }

    /// Returns jobs without a waiter. The consumer is cancelled, because it would get them again.
    async fn pause(
        &self,
        channel: &Channel,
        mut consumer: Consumer,
        sent: &mut Deliveries,
    ) -> Result<(), LinkError> {
        channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
        // Messages in flight. The consumer ends after them.
        while let Some(delivery) = consumer.next().await {
            self.take(delivery?, sent);
        }
        sent.unclaimed.clear();
        sent.since = None;
        Ok(())
    }
}

/// The next message. Never returns without a consumer.
async fn next(consumer: &mut Option<Consumer>) -> Result<Delivery, LinkError> {
    let Some(consumer) = consumer else { return std::future::pending().await };
    match consumer.next().await {
        Some(delivery) => Ok(delivery?),
        None => {
            Err(LinkError::new(format!("queue {} was deleted, or its consumer cancelled", consumer.queue())))
        }
    }
}

async fn sleep_until_unclaimed(since: Option<Instant>) {
    match since {
        Some(since) => sleep_until(since + UNCLAIMED).await,
        None => std::future::pending().await,
    }
}

/// How a lease ends. Without one of these, its job returns at once.
#[derive(Debug)]
enum Settlement {
    Ack { told: oneshot::Sender<()> },
    Retry { after: Duration, told: oneshot::Sender<Result<(), LinkError>> },
}

/// An unsettled message.
#[derive(Debug)]
struct Message {
    data: Vec<u8>,
    properties: BasicProperties,
    acker: Acker,
}

impl Message {
    fn of(delivery: Delivery) -> Self {
        let Delivery { data, properties, acker, .. } = delivery;
        Self { data, properties, acker }
    }

    /// Waits until the lease is settled, and tells the broker. This future ends with its connection: the lease then gets an
    /// error, and the broker delivers the job to another consumer.
    async fn settle(
        self,
        decided: oneshot::Receiver<Settlement>,
        source: Source,
    ) -> Result<(), lapin::Error> {
        match (decided.await, source) {
            (Ok(Settlement::Ack { told }), _) => {
                // False when the channel was closed meanwhile.
                if self.acker.ack(BasicAckOptions::default()).await? {
                    let _ = told.send(());
                }
                Ok(())
            }
            (Ok(Settlement::Retry { after, told }), Source::Jobs { publisher, .. }) => {
                self.store_again(&publisher, after, told).await
            }
            (Ok(Settlement::Retry { after, told }), Source::DeadLetters) => {
                let _ = told.send(Ok(()));
                sleep(after).await;
                give_back(&self.acker).await
            }
            (Err(_), _) => give_back(&self.acker).await,
        }
    }

    /// Stores the message again, to arrive after this time, and acknowledges this one. Reports whether that worked.
    async fn store_again(
        self,
        publisher: &Publisher,
        after: Duration,
        told: oneshot::Sender<Result<(), LinkError>>,
    ) -> Result<(), lapin::Error> {
        let Self { data, properties, acker } = self;
        match publisher.publish_again(data, &properties, after).await {
            Ok(()) => {
                if acker.ack(BasicAckOptions::default()).await? {
                    let _ = told.send(Ok(()));
                }
                Ok(())
            }
            Err(fault) => {
                let held = after.min(HELD_AT_MOST);
                tracing::warn!(%fault, "RabbitMQ did not store a job for its retry; returning it to the queue in {held:?}");
                let _ = told.send(Err(fault));
                // The copy may be stored all the same. Do not retry: each try may leave another copy.
                sleep(held).await;
                give_back(&acker).await
            }
        }
    }
}

async fn give_back(acker: &Acker) -> Result<(), lapin::Error> {
    let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
    acker.nack(requeue).await.map(drop)
}

#[derive(Debug)]
struct RabbitLease {
    settlement: oneshot::Sender<Settlement>,
}

#[async_trait]
impl LeaseHandle for RabbitLease {
    /// AMQP does not confirm acknowledgements: it was sent when this returns. If the connection breaks before the broker
    /// reads it, the job comes back. Its stream is sealed (I5).
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        let (told, done) = oneshot::channel();
        self.settlement.send(Settlement::Ack { told }).map_err(|_| lost())?;
        done.await.map_err(|_| lost())
    }

    /// The broker has confirmed the retry when this returns `Ok`, so it survives the end of this process and of the broker.
    /// Takes [`Config::confirm_timeout`](super::Config::confirm_timeout) at most.
    async fn retry(self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        let (told, done) = oneshot::channel();
        self.settlement.send(Settlement::Retry { after, told }).map_err(|_| lost())?;
        done.await.map_err(|_| lost())?.map_err(QueueError::unavailable)
    }
}

fn lost() -> QueueError {
    QueueError::unavailable(LinkError::new("the connection to RabbitMQ that held the job was lost"))
}
