//! Keeps one connection to the broker, for ever.
//!
//! A link has one answer to every trouble (a broker that dies, restarts, hangs, closes a connection or a channel, loses
//! a queue): give the connection up and begin again with a new one, its queues declared first. That is why lapin's own
//! recovery is off: it leaves a publish pending until the broker is back, says nothing when a queue is deleted, and
//! would still need this loop for the first connection.
//!
//! What was unsettled on a connection dies with it: jobs on their way in are reported as unavailable, and the broker
//! gives leased ones to somebody else. Each link has its own connection, so trouble on one leaves the others alone; above
//! all, a broker that holds back publishers keeps taking acknowledgements.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokenwire_core::retry::Backoff;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{config::Address, link_error::LinkError, topology::Topology};

/// Either side notices a silent connection after two to three of these, in seconds: a worker whose host is gone or that is
/// frozen loses its jobs to another one within 12 s.
const HEARTBEAT: u16 = 4;

/// How large a frame may be, in bytes. lapin keeps memory for 64 of the largest on every connection, and brokers allow 128
/// KiB: 8 MiB for messages that are small as a rule. A larger message travels in several frames.
const FRAME: u32 = 16 * 1024;

/// How long a broker may take to answer before it counts as down, and then to declare the queues. One that restarts
/// accepts connections some seconds before it can answer for its queues.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);

/// When a handshake that hangs is given up. Long, because lapin gives none up: until its socket dies, it costs a thread.
/// A broker that was only frozen goes on with it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(300);

/// Waits between connections. The first is short, because a closed connection is more frequent than a dead broker; the
/// last is what a whole fleet may do to a broker that is starting.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// A connection that has lived this long was a good one: the next begins with the first wait.
const STABLE: Duration = Duration::from_secs(10);

/// How long a polite goodbye may take. A broker that is gone notices without it.
const GOODBYE: Duration = Duration::from_secs(1);

/// How a link stands.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Nobody needs it yet.
    Idle,
    /// It is new, or was up a moment ago: worth waiting for.
    Connecting,
    /// Connected, and the queues are declared.
    Up,
    /// Connected, but the broker takes no messages. It says so to connections that publish, when they next do.
    Blocked(LinkError),
    /// The last attempt to connect failed.
    Down(LinkError),
}

/// What a link is for. Its methods run one after the other, for each connection anew.
pub(super) trait Session: Send + 'static {
    /// In the names of connections, for the broker's operators, and in our log.
    fn role(&self) -> &'static str;

    /// Whether anybody needs the connection; if not, [`Self::wanted`] waits until somebody does.
    fn is_wanted(&mut self) -> bool;

    /// See [`Self::is_wanted`]. Dropped when the link ends.
    fn wanted(&mut self) -> impl Future<Output = ()> + Send;

    /// Prepares a new channel.
    fn set_up(&mut self, channel: &Channel) -> impl Future<Output = Result<(), lapin::Error>> + Send;

    /// Works until something is wrong. Dropped when the connection is lost.
    fn run(
        &mut self,
        channel: &Channel,
        state: watch::Receiver<State>,
    ) -> impl Future<Output = LinkError> + Send;
}

/// The broker, as every link reaches it.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) address: Address,
    pub(super) topology: Topology,
}

/// The view of a link that its users have.
#[derive(Clone)]
pub(super) struct Link {
    broker: Arc<Broker>,
    state: watch::Receiver<State>,
}

impl Link {
    /// A link to the broker, and what keeps it until `stop` fires.
    pub(super) fn new(
        broker: Arc<Broker>,
        session: impl Session,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (state, watcher) = watch::channel(State::Connecting);
        let link = Self { broker: Arc::clone(&broker), state: watcher };
        (link, keep(broker, session, state, stop))
    }

    /// Waits while the link is about to come up.
    ///
    /// # Errors
    /// Why it is not usable now.
    pub(super) async fn usable(&self) -> Result<(), LinkError> {
        let mut state = self.state.clone();
        match state.wait_for(|state| !matches!(state, State::Connecting)).await.as_deref() {
            Ok(State::Blocked(fault) | State::Down(fault)) => Err(fault.clone()),
            Ok(State::Idle | State::Connecting | State::Up) => Ok(()),
            // Its task has ended.
            Err(_) => Err(self.loss()),
        }
    }

    /// Why something that was under way came to nothing.
    pub(super) fn loss(&self) -> LinkError {
        match &*self.state.borrow() {
            State::Blocked(fault) | State::Down(fault) => fault.clone(),
            State::Idle | State::Connecting | State::Up => {
                LinkError::new(format!("the connection to RabbitMQ at {} was lost", self.broker.address))
            }
        }
    }

    /// The queues of the broker.
    pub(super) fn topology(&self) -> &Topology {
        &self.broker.topology
    }

    /// For messages: where the broker is.
    pub(super) fn address(&self) -> &Address {
        &self.broker.address
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&*self.state.borrow()).finish()
    }
}

async fn keep(
    broker: Arc<Broker>,
    mut session: impl Session,
    state: watch::Sender<State>,
    stop: CancellationToken,
) {
    let mut backoff = BACKOFF;
    while let Some(connected) = stop.run_until_cancelled(connect(&broker, &mut session, &state)).await {
        let began = Instant::now();
        let fault = match connected {
            Ok((connection, channel)) => {
                tracing::info!(broker = %broker.address, role = session.role(), "connected to RabbitMQ");
                state.send_replace(State::Up);
                // What is dropped here the broker takes back.
                let fault = tokio::select! {
                    fault = session.run(&channel, state.subscribe()) => fault,
                    fault = watch_over(&broker, &connection, &state) => fault,
                    () = stop.cancelled() => {
                        let _ = timeout(GOODBYE, connection.close(200, "goodbye".into())).await;
                        break;
                    }
                };
                state.send_replace(State::Connecting);
                LinkError::new(format!("the connection to RabbitMQ at {} was lost: {fault}", broker.address))
            }
            Err(fault) => {
                state.send_replace(State::Down(fault.clone()));
                fault
            }
        };
        if began.elapsed() > STABLE {
            backoff.reset();
        }
        let wait = backoff.advance();
        tracing::warn!(role = session.role(), %fault, "connecting to RabbitMQ again in {wait:?}");
        if stop.run_until_cancelled(sleep(wait)).await.is_none() {
            break;
        }
    }
    state.send_replace(State::Down(LinkError::new("the connection to RabbitMQ was closed by us")));
}

/// Waits until somebody needs a connection, and makes one.
async fn connect(
    broker: &Broker,
    session: &mut impl Session,
    state: &watch::Sender<State>,
) -> Result<(Connection, Channel), LinkError> {
    if !session.is_wanted() {
        state.send_replace(State::Idle);
        session.wanted().await;
        state.send_replace(State::Connecting);
    }
    let unusable = |fault| LinkError::new(format!("RabbitMQ at {} cannot be used: {fault}", broker.address));
    let silent = || LinkError::new("it does not answer");

    let mut handshake = pin!(handshake(broker, session.role()));
    let connection = if let Ok(connection) = timeout(BROKER_TIMEOUT, &mut handshake).await {
        connection
    } else {
        state.send_replace(State::Down(unusable(silent())));
        timeout(HANDSHAKE_TIMEOUT, handshake).await.unwrap_or_else(|_| Err(silent()))
    };
    let connection = connection.map_err(unusable)?;
    let set_up = async {
        let channel = connection.create_channel().await?;
        broker.topology.declare(&channel).await?;
        session.set_up(&channel).await?;
        Ok(channel)
    };
    let channel =
        timeout(BROKER_TIMEOUT, set_up).await.unwrap_or_else(|_| Err(silent())).map_err(unusable)?;
    Ok((connection, channel))
}

async fn handshake(broker: &Broker, role: &str) -> Result<Connection, LinkError> {
    let mut uri = broker.address.uri().clone();
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    uri.query.frame_max.get_or_insert(FRAME);
    uri.query.connection_timeout.get_or_insert(BROKER_TIMEOUT.as_secs() * 1000);
    let properties = ConnectionProperties::default().with_connection_name(format!("tokenwire {role}").into());
    Ok(Connection::connect_uri(uri, properties).await?)
}

/// Keeps the state up to date with what the broker says about the connection, until it is lost.
async fn watch_over(broker: &Broker, connection: &Connection, state: &watch::Sender<State>) -> LinkError {
    let mut events = connection.events_listener();
    // What happened before we listened.
    if !connection.status().connected() {
        return LinkError::new("it was closed at once");
    }
    while let Some(event) = events.next().await {
        match event {
            Event::Error(error) => return error.into(),
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(broker = %broker.address, reason, "RabbitMQ takes no messages");
                let fault = format!("RabbitMQ at {} takes no messages: it is {reason}", broker.address);
                state.send_replace(State::Blocked(LinkError::new(fault)));
            }
            Event::ConnectionUnblocked => {
                tracing::info!(broker = %broker.address, "RabbitMQ takes messages again");
                state.send_replace(State::Up);
            }
            _ => {}
        }
    }
    LinkError::new("it ended")
}
