//! The wake-ups of one process, from channels of Redis.
//!
//! One connection carries one subscription for each channel with listeners in this process. A listener is returned after
//! the server has confirmed the subscription, so it gets everything that is published later. After a lost connection all
//! channels are subscribed again, and all listeners get a hint to read, because messages may be missing (I7).
//!
//! The task that reads the socket passes messages on. There is no queue in between: a listener that falls behind gets a
//! hint to read, and a process that falls behind is disconnected by the server and subscribes again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ::redis::{PushInfo, PushKind, Value};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokenwire_core::token_log::Hint;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::JoinSet,
};

use super::{
    announcement,
    connection::{Connector, Link, Server, Up},
    outage::Outage,
};
use crate::wakeups::HINTS;

/// The maximum number of waiting requests. They are taken all at once, so this fills only while the server is slow.
const WAITING: usize = 256;

/// The maximum number of channels in one command.
const CHANNELS_AT_ONCE: usize = 512;

type Listener = broadcast::Receiver<Hint>;

/// The handle of the task that keeps the subscriptions.
#[derive(Clone, Debug)]
pub(super) struct Subscriptions {
    link: Link,
    requests: mpsc::Sender<Request>,
    timeout: Duration,
}

#[derive(Debug)]
struct Request {
    channel: String,
    confirmed: oneshot::Sender<Result<Listener, Outage>>,
}

impl Subscriptions {
    /// Starts the tasks that keep the subscriptions, in `tasks`.
    pub(super) fn start(server: Arc<Server>, timeout: Duration, tasks: &mut JoinSet<()>) -> Self {
        let channels = Arc::new(Channels::default());
        let on_push = {
            let channels = Arc::clone(&channels);
            Arc::new(move |push| channels.deliver(push))
        };
        let (link, keep_up) = Connector::new(server, on_push).start();
        tasks.spawn(keep_up);
        let (requests, incoming) = mpsc::channel(WAITING);
        let subscriber =
            Subscriber { link: link.clone(), channels, incoming, deserted: FuturesUnordered::new() };
        tasks.spawn(subscriber.run());
        Self { link, requests, timeout }
    }

    /// Whether there is a connection.
    pub(super) async fn up(&self) -> Result<(), Outage> {
        self.link.up().await.map(drop)
    }

    /// Listens to a channel. Nothing that is published after this returns is missed without a [`Hint::Look`].
    pub(super) async fn listen(&self, channel: String) -> Result<Listener, Outage> {
        // While the server is unavailable, its reason is a better error than a time-out.
        self.link.up().await?;
        let (confirmed, confirmation) = oneshot::channel();
        let subscribed = async {
            self.requests.send(Request { channel, confirmed }).await.map_err(|_| Outage::SubscriptionLost)?;
            confirmation.await.unwrap_or(Err(Outage::SubscriptionLost))
        };
        tokio::time::timeout(self.timeout, subscribed).await.unwrap_or_else(|_| Err(self.link.silent()))
    }
}

/// The channels with listeners in this process.
#[derive(Debug, Default)]
struct Channels {
    subscribed: Mutex<HashMap<String, broadcast::Sender<Hint>>>,
}

impl Channels {
    fn deliver(&self, PushInfo { kind, data }: PushInfo) {
        if kind != PushKind::Message {
            return;
        }
        let mut data = data.into_iter();
        let (Some(Value::BulkString(channel)), Some(Value::BulkString(message))) = (data.next(), data.next())
        else {
            return;
        };
        let Ok(channel) = String::from_utf8(channel) else { return };
        let Some(hints) = self.lock().get(&channel).cloned() else { return };
        let hint = announcement::hint(&message);
        // The last listener has left. The subscriber will notice.
        let _ = hints.send(hint);
    }

    fn look(&self) {
        for hints in self.lock().values() {
            let _ = hints.send(Hint::Look);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, broadcast::Sender<Hint>>> {
        // Nothing panics while it holds the lock.
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Subscribes and unsubscribes. Only this task adds and removes channels.
struct Subscriber {
    link: Link,
    channels: Arc<Channels>,
    incoming: mpsc::Receiver<Request>,
    /// For each channel, waits until its last listener leaves.
    deserted: FuturesUnordered<BoxFuture<'static, String>>,
}

impl Subscriber {
    async fn run(mut self) {
        while !self.incoming.is_closed()
            && let Some(up) = self.link.wait_until_up().await
        {
            if let Err(outage) = self.serve(up.clone()).await {
                let cause: &(dyn std::error::Error + 'static) = &outage;
                tracing::warn!(cause, "lost the subscriptions; reconnecting");
                up.give_up();
            }
        }
    }

    /// Works on one connection until it is lost, or all handles are dropped.
    async fn serve(&mut self, mut up: Up) -> Result<(), Outage> {
        self.subscribe_again(&mut up).await?;
        self.channels.look();
        let mut requests = Vec::new();
        loop {
            // All of these can be dropped: none has taken anything before it is ready.
            tokio::select! {
                () = up.lost() => return Ok(()),
                taken = self.incoming.recv_many(&mut requests, CHANNELS_AT_ONCE) => {
                    if taken == 0 {
                        return Ok(());
                    }
                    self.subscribe(&mut up, requests.drain(..)).await;
                }
                Some(channel) = self.deserted.next() => self.leave(&mut up, channel).await?,
            }
        }
    }

    async fn subscribe_again(&mut self, up: &mut Up) -> Result<(), Outage> {
        let channels: Vec<_> = self.channels.lock().keys().cloned().collect();
        for channels in channels.chunks(CHANNELS_AT_ONCE) {
            let answer = up.connection.subscribe(channels).await;
            up.check(answer)?;
        }
        Ok(())
    }

    async fn subscribe(&mut self, up: &mut Up, requests: impl Iterator<Item = Request>) {
        let mut fresh = Vec::new();
        // Added before the command is sent, so that the first messages find it.
        let waiting: Vec<_> = {
            let mut subscribed = self.channels.lock();
            requests
                .map(|Request { channel, confirmed }| {
                    let hints = subscribed.entry(channel.clone()).or_insert_with(|| {
                        let hints = broadcast::channel(HINTS).0;
                        fresh.push(channel.clone());
                        hints
                    });
                    (confirmed, hints.subscribe())
                })
                .collect()
        };
        for channel in &fresh {
            self.watch(channel.clone());
        }
        let outcome = if fresh.is_empty() {
            Ok(())
        } else {
            let answer = up.connection.subscribe(&fresh).await;
            up.check(answer)
        };
        if outcome.is_err() {
            // These were not subscribed. Remove them, so that the next listener retries.
            let mut subscribed = self.channels.lock();
            for channel in &fresh {
                subscribed.remove(channel);
            }
        }
        for (confirmed, listener) in waiting {
            // A caller that has gone drops its listener.
            let _ = confirmed.send(outcome.clone().map(|()| listener));
        }
    }

    /// Waits in the background for the last listener of a channel to leave.
    fn watch(&self, channel: String) {
        let Some(hints) = self.channels.lock().get(&channel).cloned() else { return };
        let gone = async move {
            hints.closed().await;
            channel
        };
        self.deserted.push(gone.boxed());
    }

    /// Unsubscribes from all channels without listeners with one command.
    async fn leave(&mut self, up: &mut Up, channel: String) -> Result<(), Outage> {
        let mut deserted = vec![channel];
        while deserted.len() < CHANNELS_AT_ONCE
            && let Some(Some(channel)) = self.deserted.next().now_or_never()
        {
            deserted.push(channel);
        }
        let mut left = Vec::new();
        for channel in deserted {
            let listeners = self.channels.lock().get(&channel).map(broadcast::Sender::receiver_count);
            match listeners {
                // Only this task adds listeners, so there is no new one.
                Some(0) => {
                    self.channels.lock().remove(&channel);
                    left.push(channel);
                }
                Some(_) => self.watch(channel),
                None => {}
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let answer = up.connection.unsubscribe(left).await;
        up.check(answer)
    }
}
