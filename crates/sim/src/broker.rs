//! A broker in memory: a queue that counts deliveries and gives up, and that can be purged and deleted.
//!
//! A job that comes back because its lease was dropped has one delivery less before it. Beyond the limit it becomes a dead
//! letter. A job that is to be retried is another message, which is counted from the beginning. A purge takes what waits;
//! when the queue is deleted, leases are void too, and settling one fails.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokenwire_core::{GenerationId, Job, JobQueue, Lease, QueueError, job_queue::LeaseHandle};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

#[derive(Debug)]
pub(crate) struct Broker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// How often a job is delivered before the broker gives up on it.
    limit: u32,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Message>,
    /// By when they are due and then in order of arrival.
    later: BTreeMap<(Instant, u64), (Origin, Message)>,
    dead: VecDeque<Message>,
    leased: BTreeMap<u64, GenerationId>,
    arrivals: u64,
}

#[derive(Clone, Debug)]
struct Message {
    job: Job,
    deliveries: u32,
}

impl State {
    fn take(&mut self, origin: Origin) -> Option<Message> {
        let now = Instant::now();
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= now
        {
            let (origin, message) = entry.remove();
            self.of(origin).push_back(message);
        }
        self.of(origin).pop_front()
    }

    fn of(&mut self, origin: Origin) -> &mut VecDeque<Message> {
        match origin {
            Origin::Queue => &mut self.ready,
            Origin::DeadLetters => &mut self.dead,
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.later.first_key_value().map(|((due, _), _)| *due)
    }

    fn number(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }
}

impl Broker {
    pub(crate) fn with_limit(limit: u32) -> Self {
        let shared = Shared { limit, state: Mutex::default(), changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Drops all waiting messages. Returns their generations.
    pub(crate) fn purge(&self) -> Vec<GenerationId> {
        let mut state = self.shared.lock();
        let waiting = std::mem::take(&mut state.ready).into_iter();
        let later = std::mem::take(&mut state.later).into_values().map(|(_, message)| message);
        let dead = std::mem::take(&mut state.dead);
        waiting.chain(later).chain(dead).map(|message| message.job.id).collect()
    }

    /// Drops all messages. Leases become void.
    pub(crate) fn delete(&self) -> Vec<GenerationId> {
        let mut gone = self.purge();
        gone.extend(std::mem::take(&mut self.shared.lock().leased).into_values());
        gone
    }

    pub(crate) fn dead(&self) -> Vec<GenerationId> {
        let state = self.shared.lock();
        let later = state.later.values().filter(|(origin, _)| *origin == Origin::DeadLetters);
        state.dead.iter().chain(later.map(|(_, message)| message)).map(|message| message.job.id).collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lease(self: &Arc<Self>, origin: Origin) -> Lease {
        loop {
            // Listens before it looks. Dropped while it waits, it passes its wake-up on.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let due = {
                let mut state = self.lock();
                if let Some(message) = state.take(origin) {
                    let number = state.number();
                    state.leased.insert(number, message.job.id);
                    let job = message.job.clone();
                    let hold =
                        BrokerHold { message: Some(message), number, origin, shared: Arc::clone(self) };
                    return Lease::new(job, Box::new(hold));
                }
                state.next_due()
            };
            match due {
                Some(due) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(due) => {}
                },
                None => changed.await,
            }
        }
    }
}

#[async_trait]
impl JobQueue for Broker {
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        self.shared.lock().ready.push_back(Message { job: job.clone(), deliveries: 0 });
        self.shared.changed.notify_waiters();
        Ok(())
    }

    fn waiting(&self) -> usize {
        self.shared.lock().ready.len()
    }

    async fn lease(&self) -> Result<Lease, QueueError> {
        Ok(self.shared.lease(Origin::Queue).await)
    }

    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        Ok(self.shared.lease(Origin::DeadLetters).await)
    }

    async fn ready(&self) -> Result<(), QueueError> {
        Ok(())
    }
}

/// Where a message comes from, and goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Queue,
    DeadLetters,
}

#[derive(Debug)]
struct BrokerHold {
    /// None once it is settled.
    message: Option<Message>,
    number: u64,
    origin: Origin,
    shared: Arc<Shared>,
}

impl BrokerHold {
    /// The message, if the lease is not void.
    fn take(&mut self) -> Option<Message> {
        let is_valid = self.shared.lock().leased.remove(&self.number).is_some();
        self.message.take().filter(|_| is_valid)
    }
}

#[async_trait]
impl LeaseHandle for BrokerHold {
    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        self.take().map(drop).ok_or_else(void)
    }

    async fn retry(mut self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        let message = self.take().ok_or_else(void)?;
        let mut state = self.shared.lock();
        let place = (Instant::now() + after, state.number());
        state.later.insert(place, (self.origin, Message { deliveries: 0, ..message }));
        drop(state);
        self.shared.changed.notify_waiters();
        Ok(())
    }
}

impl Drop for BrokerHold {
    fn drop(&mut self) {
        let Some(mut message) = self.take() else { return };
        message.deliveries += 1;
        let mut state = self.shared.lock();
        match self.origin {
            Origin::Queue if message.deliveries <= self.shared.limit => state.ready.push_front(message),
            Origin::Queue | Origin::DeadLetters => state.dead.push_back(message),
        }
        drop(state);
        self.shared.changed.notify_waiters();
    }
}

fn void() -> QueueError {
    QueueError::unavailable("the queue was deleted")
}
