//! The way out: jobs from a queue of the broker, each held until its lease is settled.
//!
//! One task speaks to the broker. Whoever wants a job leaves a waiter to put it and waits; every job that is out has its
//! own small future in the task, which waits for the fate of the lease and tells the broker. A lease that is dropped, by
//! a worker or because nobody waited for it any more, needs no code of its own: its fate is that its sender is gone, and
//! the job goes back.
//!
//! A job to be retried holds no delivery while it waits: the prefetch bounds deliveries, and a few retries of one busy
//! model would stop all others. Its message is stored again, in a delay queue (`delay`), and only when the broker has
//! confirmed that, the delivery is acknowledged (I5). To the broker the copy is a new message, so a retry does not count
//! towards the delivery limit. A crash in between leaves both, which costs a second lease and nothing else. While the
//! broker stores nothing (an alarm, a lost connection of the publisher), the delivery is held here instead, for
//! [`HELD_AT_MOST`], and then given back.
//!
//! The broker sends jobs ahead, up to the prefetch, and only while somebody wants some. A process that stops leasing (a
//! worker that drains, with free slots) gives back what it was sent, so that the job does not wait behind it.

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

/// How many callers may leave a waiter for a job while the broker is away; the next one waits to leave its own.
const MAX_WAITERS: usize = 64;

/// How long a job may lie here while nobody wants it. Longer than a worker takes between two leases, much shorter than a
/// person notices.
const UNCLAIMED: Duration = Duration::from_secs(1);

/// How long a job may be held here when the broker does not store it for its retry. It fills the prefetch meanwhile, so
/// this is short beside most waits for a model. Longer than a connection takes to be made again.
const HELD_AT_MOST: Duration = Duration::from_secs(10);

/// How many dead letters may be unsettled at once. Each takes some round trips, and one that cannot be stored again waits
/// some seconds: one at a time would be too slow.
const DEAD_LETTERS: u16 = 16;

/// What a subscription is for.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// New jobs, so many unsettled ones at once. Jobs to be retried are stored again by the publisher.
    Jobs { prefetch: u16, publisher: Publisher },
    /// Jobs that the broker gave up on. Those to be retried wait in this process: a delay queue would bring them back as
    /// new jobs.
    DeadLetters,
}

/// Leases jobs from one queue. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    waiters: mpsc::Sender<oneshot::Sender<Lease>>,
    link: Link,
}

impl Subscription {
    /// A subscription, and what does its work until `stop` fires. It connects when somebody first wants a job.
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

    /// Waits for a job, also while the broker is away. A job that arrives for a dropped future goes back.
    pub(super) async fn lease(&self) -> Result<Lease, QueueError> {
        let (waiter, lease) = oneshot::channel();
        let closed = || QueueError::unavailable(self.link.loss());
        self.waiters.send(waiter).await.map_err(|_| closed())?;
        lease.await.map_err(|_| closed())
    }
}

/// The receiving end of the link.
struct Dispatcher {
    source: Source,
    queue: ShortString,
    prefetch: u16,
    default_model: ModelName,
    new_waiters: mpsc::Receiver<oneshot::Sender<Lease>>,
    /// Places for jobs, in the order in which they were left. They outlive connections.
    waiters: VecDeque<oneshot::Sender<Lease>>,
}

/// What the broker sent on one connection and has not heard of yet.
#[derive(Default)]
struct Deliveries {
    /// Nobody has them yet; since when.
    unclaimed: VecDeque<Lease>,
    since: Option<Instant>,
    /// One future for each message that is not settled. The prefetch bounds them; what is still leased when a pause
    /// ends comes on top, because the broker counts for the new consumer alone.
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
            // Each of these may be dropped and taken up again.
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

    /// Gives jobs to those who wait, first come, first served.
    fn dispatch(&mut self, sent: &mut Deliveries) {
        self.waiters.retain(|waiter| !waiter.is_closed());
        while let Some(waiter) = self.waiters.pop_front() {
            let Some(lease) = sent.unclaimed.pop_front() else {
                self.waiters.push_front(waiter);
                break;
            };
            // It may have been left a moment ago.
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
                // It comes from a delay queue, and has to wait longer than that one lets it.
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

    /// Makes a lease of a message.
    fn offer(&self, job: Job, delivery: Delivery, sent: &mut Deliveries) {
        let (settlement, decided) = oneshot::channel();
        sent.unclaimed.push_back(Lease::new(job, Box::new(RabbitLease { settlement })));
        let (source, message) = (self.source.clone(), Message::of(delivery));
        sent.unsettled.push(message.settle(decided, source).boxed());
    }

    /// Sends a message that is no job, and names no generation, on to where the queue's dead letters go.
    fn put_aside(&self, error: &DecodeError, delivery: &Delivery, sent: &mut Deliveries) {
        tracing::error!(queue = %self.queue, %error, "a message is no job; putting it aside");
        let acker = delivery.acker.clone();
        let reject = async move { acker.reject(BasicRejectOptions { requeue: false }).await.map(drop) };
        sent.unsettled.push(reject.boxed());
    }

    /// Gives back what nobody wants. Going on with the same consumer would only bring it back.
    async fn pause(
        &self,
        channel: &Channel,
        mut consumer: Consumer,
        sent: &mut Deliveries,
    ) -> Result<(), LinkError> {
        channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
        // What was on its way. The consumer ends after it.
        while let Some(delivery) = consumer.next().await {
            self.take(delivery?, sent);
        }
        sent.unclaimed.clear();
        sent.since = None;
        Ok(())
    }
}

/// The next message, if there is a consumer; no message ever otherwise.
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

/// How a lease ends. Without one of these, its job goes back at once.
#[derive(Debug)]
enum Settlement {
    Ack { told: oneshot::Sender<()> },
    Retry { after: Duration, told: oneshot::Sender<Result<(), LinkError>> },
}

/// A message that is not settled yet.
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

    /// Waits for the end of the lease, and tells the broker. When the connection is gone, so is the future; the lease then
    /// learns that it cannot be settled, and the broker has given the job to another consumer.
    async fn settle(
        self,
        decided: oneshot::Receiver<Settlement>,
        source: Source,
    ) -> Result<(), lapin::Error> {
        match (decided.await, source) {
            (Ok(Settlement::Ack { told }), _) => {
                // Refused when the channel was closed meanwhile.
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

    /// Stores the message again, to arrive after this time, and acknowledges this one. Tells whether that worked.
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
                // The copy may be stored all the same. It is not stored a second time: each attempt may leave another one.
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
    /// AMQP confirms no acknowledgement: this one has been sent when it returns. Should the connection break before the
    /// broker reads it, the job comes back and finds its stream sealed (I5).
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        let (told, done) = oneshot::channel();
        self.settlement.send(Settlement::Ack { told }).map_err(|_| lost())?;
        done.await.map_err(|_| lost())
    }

    /// The broker has confirmed the job for its retry when this returns `Ok`: it survives the end of this process and of
    /// the broker. Takes [`Config::confirm_timeout`](super::Config::confirm_timeout) at most.
    async fn retry(self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        let (told, done) = oneshot::channel();
        self.settlement.send(Settlement::Retry { after, told }).map_err(|_| lost())?;
        done.await.map_err(|_| lost())?.map_err(QueueError::unavailable)
    }
}

fn lost() -> QueueError {
    QueueError::unavailable(LinkError::new("the connection to RabbitMQ that held the job was lost"))
}
