//! Keeps one connection to the broker.
//!
//! A link reacts in one way to every failure (a broker that dies, restarts or hangs, a closed connection or channel, a
//! deleted queue): it drops the connection, makes a new one, and declares the queues. lapin's own recovery is off: it
//! leaves a publish pending until the broker is back, does not report a deleted queue, and would still need this loop for
//! the first connection.
//!
//! What is unsettled on a connection ends with it: publishes fail as unavailable, and the broker delivers leased jobs to
//! another consumer. Each link has its own connection, so that a failure of one does not affect the others. A broker that
//! blocks publishers still takes acknowledgements.

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

/// The heartbeat in seconds. Either side notices a silent connection after two to three of these, so a dead or frozen
/// worker loses its jobs within 12 s.
const HEARTBEAT: u16 = 4;

/// The maximum size of a frame, in bytes. lapin allocates 64 of the largest for each connection: 8 MiB with the 128 KiB
/// that brokers allow. A larger message takes several frames.
const FRAME: u32 = 16 * 1024;

/// How long a broker may take for the handshake, and then to declare the queues. A starting broker accepts connections some
/// seconds before its queues are ready.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);

/// When a hanging handshake ends. Long, because lapin ends none: until its socket dies it costs a thread. A frozen broker
/// continues it when it thaws.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(300);

/// Waits between connections. Short at first, because a closed connection is more frequent than a dead broker. The last one
/// protects a starting broker from a whole fleet.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// After a connection that lasted this long the waits start again.
const STABLE: Duration = Duration::from_secs(10);

/// How long closing a connection may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// The state of a link.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// It is not needed yet.
    Idle,
    /// It is new or was just lost: worth waiting for.
    Connecting,
    /// Connected, and the queues are declared.
    Up,
    /// Connected, but the broker takes no messages. It tells connections when they publish.
    Blocked(LinkError),
    /// The last attempt to connect failed.
    Down(LinkError),
}

/// The use of a link. Its methods run one after the other, for each connection.
pub(super) trait Session: Send + 'static {
    /// Its name in connections, for the broker's operators, and in logs.
    fn role(&self) -> &'static str;

    /// Whether the connection is needed. If not, [`Self::wanted`] waits until it is.
    fn is_wanted(&mut self) -> bool;

    /// See [`Self::is_wanted`]. Dropped when the link ends.
    fn wanted(&mut self) -> impl Future<Output = ()> + Send;

    /// Prepares a new channel.
    fn set_up(&mut self, channel: &Channel) -> impl Future<Output = Result<(), lapin::Error>> + Send;

    /// Works until a failure. Dropped when the connection is lost.
    fn run(
        &mut self,
        channel: &Channel,
        state: watch::Receiver<State>,
    ) -> impl Future<Output = LinkError> + Send;
}

/// The broker, shared by all links.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) address: Address,
    pub(super) topology: Topology,
}

/// A handle of a link.
#[derive(Clone)]
pub(super) struct Link {
    broker: Arc<Broker>,
    state: watch::Receiver<State>,
}

impl Link {
    /// A link to the broker, and its task, which runs until `stop` fires.
    pub(super) fn new(
        broker: Arc<Broker>,
        session: impl Session,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (state, watcher) = watch::channel(State::Connecting);
        let link = Self { broker: Arc::clone(&broker), state: watcher };
        (link, keep(broker, session, state, stop))
    }

    /// Waits while the link connects for the first time.
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

    /// The reason for the loss of something in flight.
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

    /// The address of the broker, for messages.
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
                // The broker takes back what is dropped here.
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

/// Waits until a connection is needed, and makes one.
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

/// Updates the state with the broker's events, until the connection is lost.
async fn watch_over(broker: &Broker, connection: &Connection, state: &watch::Sender<State>) -> LinkError {
    let mut events = connection.events_listener();
    // It may have been closed before we listened.
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
