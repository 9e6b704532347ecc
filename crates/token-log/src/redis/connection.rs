//! Keeps one connection to Redis.
//!
//! A task connects, waits for the loss, and connects again. Commands never connect: they wait for an attempt in progress,
//! and fail at once with its reason after it has failed. A caller that finds a connection dead or silent reports it, and
//! the task makes the next one.
//!
//! One address can lead to another server at any time: a failover moves a virtual IP, a name or the target of a proxy. The
//! old connection then stays open, to a server that is a replica now. So a connection counts as up only after a write,
//! every probe is a write, and an error that only another server can lift ([`outage::is_elsewhere`]) ends the connection.
//! The name is looked up for each attempt. When one connection of a process ends for this reason, all others do: a
//! subscriber writes nothing else and would stay at the old server.
//!
//! The manager of the redis crate is not used: it keeps a first connection that failed for another reason than I/O (such as
//! a wrong password that is corrected later), and it does not leave a silent connection.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, InfoDict, Pipeline, PushInfo,
    PushKind, RedisError, RedisResult, Script, ScriptInvocation, Value, aio::MultiplexedConnection,
};
use tokenwire_core::retry::Backoff;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

use super::outage::{self, Kind, Outage};

/// The oldest supported version: flags of scripts, and `PEXPIRETIME`.
const OLDEST: u32 = 7;

/// After the loss of a connection that lasted this long, the task reconnects at once.
const LASTED: Duration = Duration::from_secs(5);

/// How often an idle connection is probed with a write: it may be silent, or its server may be a replica now.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// The time to live of the probe's key, in milliseconds.
const KEEP_PROBE_MS: u64 = 60_000;

/// Handles messages that the server pushes. Called by the task that reads the socket: it must not block.
type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// The server, shared by all connections of a process.
pub(super) struct Server {
    client: Client,
    /// The same address without a database: a cluster and a sentinel refuse to select one.
    without_database: Client,
    address: String,
    timeout: Duration,
    /// A write to a key that is never read.
    probe: Cmd,
    /// Changes when any connection was closed because the server is not the primary any more.
    moves: watch::Sender<()>,
}

/// Makes connections.
pub(super) struct Connector {
    server: Arc<Server>,
    on_push: OnPush,
}

/// A handle of the connection that a [`Connector`] keeps.
#[derive(Clone, Debug)]
pub(super) struct Link {
    address: String,
    user: Arc<str>,
    timeout: Duration,
    state: watch::Receiver<State>,
}

#[derive(Clone, Debug)]
enum State {
    /// The first attempt after the start or a loss is in progress.
    Connecting,
    Up(Up),
    /// The last attempt failed. Another one follows.
    Down(Outage),
}

/// A connection that seems to work.
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) connection: MultiplexedConnection,
    server: Arc<Server>,
    lost: CancellationToken,
    since: Instant,
    /// Whether this process found the server unavailable before it.
    is_regained: bool,
}

/// Without the clients, which hold a password.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    pub(super) fn new(info: ConnectionInfo, timeout: Duration, prefix: &str) -> RedisResult<Self> {
        let without_database = info.redis_settings().clone().set_db(0);
        let mut probe = ::redis::cmd("SET");
        probe.arg(format!("{prefix}:ready")).arg(1).arg("PX").arg(KEEP_PROBE_MS);
        Ok(Self {
            address: info.addr().to_string(),
            without_database: Client::open(info.clone().set_redis_settings(without_database))?,
            client: Client::open(info)?,
            timeout,
            probe,
            moves: watch::Sender::new(()),
        })
    }

    /// Refuses unsupported servers. A server that does not say its kind is accepted.
    async fn check_kind(&self, connection: &mut MultiplexedConnection) -> Result<(), Outage> {
        let (version, mode) = greet(connection).await;
        let kind = match mode.as_deref() {
            Some("cluster") => Some(Kind::Cluster),
            Some("sentinel") => Some(Kind::Sentinel),
            _ => None,
        };
        if let Some(kind) = kind {
            return Err(Outage::Unsupported { address: self.address.clone(), kind });
        }
        match version {
            Some(version) if is_too_old(&version) => {
                Err(Outage::TooOld { address: self.address.clone(), version })
            }
            _ => Ok(()),
        }
    }

    /// The reason why a connection failed.
    async fn why_not(&self, source: RedisError) -> Outage {
        let chooses = self.client.get_connection_info().redis_settings().db() != 0;
        if chooses
            && !source.is_io_error()
            && let Ok(mut connection) = self.without_database.get_multiplexed_async_connection().await
            && let Err(unsupported) = self.check_kind(&mut connection).await
        {
            return unsupported;
        }
        Outage::Connect { address: self.address.clone(), source }
    }
}

/// Version and mode of a server. Every user may send `HELLO`. `INFO` is for servers that refuse it within a connection.
async fn greet(connection: &mut MultiplexedConnection) -> (Option<String>, Option<String>) {
    if let Ok(mut says) = ::redis::cmd("HELLO").query_async::<HashMap<String, Value>>(&mut *connection).await
    {
        let mut text = |name| says.remove(name).and_then(|value| String::from_redis_value(value).ok());
        return (text("version"), text("mode"));
    }
    match ::redis::cmd("INFO").arg("server").query_async::<InfoDict>(connection).await {
        Ok(info) => (info.get("redis_version"), info.get("redis_mode")),
        Err(_) => (None, None),
    }
}

impl Connector {
    pub(super) fn new(server: Arc<Server>, on_push: OnPush) -> Self {
        Self { server, on_push }
    }

    /// The connection, and the future that keeps it up for as long as it is polled.
    pub(super) fn start(self) -> (Link, impl Future<Output = ()> + Send) {
        let (announce, state) = watch::channel(State::Connecting);
        let Server { address, timeout, client, .. } = &*self.server;
        let user = client.get_connection_info().redis_settings().username().unwrap_or("default").into();
        let link = Link { address: address.clone(), user, timeout: *timeout, state };
        (link, self.keep_up(announce))
    }

    async fn keep_up(self, state: watch::Sender<State>) {
        let address = &self.server.address;
        let mut is_regained = false;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            // Read before the attempt: a move during it may lead away from the server it reaches.
            let moves = self.server.moves.subscribe();
            match self.connect(is_regained).await {
                Ok(up) => {
                    tracing::info!(redis.address = %address, "connected to redis");
                    is_regained = true;
                    let since = up.since;
                    state.send_replace(State::Up(up.clone()));
                    up.outlast(moves).await;
                    tracing::warn!(redis.address = %address, "lost the connection to redis");
                    state.send_replace(State::Connecting);
                    if since.elapsed() > LASTED {
                        backoff.reset();
                        continue;
                    }
                }
                Err(outage) => {
                    // Logged once per outage.
                    if matches!(*state.borrow(), State::Connecting) {
                        let cause: &(dyn std::error::Error + 'static) = &outage;
                        tracing::warn!(cause, "redis is unavailable; reconnecting until it is back");
                    }
                    is_regained = true;
                    state.send_replace(State::Down(outage));
                }
            }
            tokio::time::sleep(backoff.advance()).await;
        }
    }

    async fn connect(&self, is_regained: bool) -> Result<Up, Outage> {
        let Server { client, address, timeout, .. } = &*self.server;
        let attempt = async {
            let lost = CancellationToken::new();
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(*timeout))
                .set_response_timeout(Some(*timeout))
                .set_push_sender({
                    let (lost, on_push) = (lost.clone(), Arc::clone(&self.on_push));
                    move |push: PushInfo| {
                        if push.kind == PushKind::Disconnection {
                            lost.cancel();
                        } else {
                            on_push(push);
                        }
                        Ok::<_, std::convert::Infallible>(())
                    }
                });
            let mut connection = match client.get_multiplexed_async_connection_with_config(&config).await {
                Ok(connection) => connection,
                Err(source) => return Err(self.server.why_not(source).await),
            };
            self.server.check_kind(&mut connection).await?;
            let server = Arc::clone(&self.server);
            let mut up = Up { connection, server, lost, since: Instant::now(), is_regained };
            up.prove().await?;
            Ok(up)
        };
        let silent = || Outage::Silent { address: address.clone(), within: *timeout };
        tokio::time::timeout(*timeout, attempt).await.unwrap_or_else(|_| Err(silent()))
    }
}

/// Whether this is a version that is too old. Unknown forms are not.
fn is_too_old(version: &str) -> bool {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major < OLDEST)
}

impl Link {
    /// The connection. Waits for an attempt in progress.
    pub(super) async fn up(&self) -> Result<Up, Outage> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| matches!(state, State::Down(_)) || state.is_up());
        match tokio::time::timeout(self.timeout, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Up(up) => Ok(up.clone()),
                State::Down(outage) => Err(outage.clone()),
                State::Connecting => Err(self.silent()),
            },
            _ => Err(self.silent()),
        }
    }

    /// Waits for the first attempt to connect, and refuses an unsupported server.
    pub(super) async fn check_kind(&self) -> Result<(), Outage> {
        match self.up().await {
            Err(unsupported @ Outage::Unsupported { .. }) => Err(unsupported),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Waits for a connection, without a time limit.
    pub(super) async fn wait_until_up(&self) -> Option<Up> {
        let mut state = self.state.clone();
        let state = state.wait_for(State::is_up).await.ok()?;
        match &*state {
            State::Up(up) => Some(up.clone()),
            State::Connecting | State::Down(_) => None,
        }
    }

    pub(super) async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Outage> {
        let mut up = self.up().await?;
        let answer = pipeline.query_async(&mut up.connection).await;
        up.check(answer)
    }

    pub(super) async fn script<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Outage> {
        let mut up = self.up().await?;
        let answer = script.invoke_async(&mut up.connection).await;
        up.check(answer)
    }

    /// Sends independent commands, and returns the answer of each.
    pub(super) async fn each(
        &self,
        pipeline: &Pipeline,
    ) -> Result<impl Iterator<Item = Result<Value, Outage>>, Outage> {
        let mut up = self.up().await?;
        let answers = up.connection.send_packed_commands(pipeline, 0, pipeline.len()).await;
        let answers = up.check(answers)?;
        Ok(answers.into_iter().map(move |answer| up.check(answer.extract_error())))
    }

    /// Converts an answer.
    pub(super) fn understand<T: FromRedisValue>(&self, answer: Value) -> Result<T, Outage> {
        T::from_redis_value(answer)
            .map_err(|source| Outage::Command { address: self.address.clone(), source: source.into() })
    }

    /// Loads a script, so that it can be called by its hash.
    pub(super) async fn load(&self, script: &Script) -> Result<(), Outage> {
        let mut up = self.up().await?;
        let loaded = script.load_async(&mut up.connection).await;
        up.check(loaded).map(drop)
    }

    /// Whether the server is unavailable, or was within this time.
    pub(super) fn was_away_within(&self, time: Duration) -> bool {
        match &*self.state.borrow() {
            State::Up(up) => up.is_regained && up.since.elapsed() < time,
            State::Connecting | State::Down(_) => true,
        }
    }

    /// Whether there is no connection, or has been one for less than this time.
    pub(super) fn is_younger_than(&self, time: Duration) -> bool {
        let state = self.state.borrow();
        !matches!(&*state, State::Up(up) if state.is_up() && up.since.elapsed() >= time)
    }

    /// The time limit for an answer.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The name of the user of this process.
    pub(super) fn user(&self) -> String {
        self.user.to_string()
    }

    /// The error for a published message that did not arrive in time.
    pub(super) fn no_wake_up(&self) -> Outage {
        Outage::NoWakeUp { address: self.address.clone(), within: self.timeout }
    }

    /// The error for a missing answer.
    pub(super) fn silent(&self) -> Outage {
        Outage::Silent { address: self.address.clone(), within: self.timeout }
    }
}

impl State {
    /// Whether there is a connection that is not reported as lost.
    fn is_up(&self) -> bool {
        matches!(self, Self::Up(up) if !up.lost.is_cancelled())
    }
}

impl Up {
    /// Waits until this connection is reported as lost.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Probes at an interval, until this connection is lost or useless.
    async fn outlast(self, mut moves: watch::Receiver<()>) {
        let mut tick = interval_at(Instant::now() + PROBE_EVERY, PROBE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = self.connection.clone();
        let probing = async {
            loop {
                tick.tick().await;
                let answer = self.server.probe.exec_async(&mut connection).await;
                // Most errors are no reason to reconnect: no memory, or no permission.
                if self.check(answer).is_err_and(|outage| outage.may_be_cut_off()) {
                    self.give_up();
                }
            }
        };
        // All of these can be dropped.
        tokio::select! {
            () = self.lost.cancelled() => {}
            // It cannot end otherwise, because this connection holds a sender.
            _ = moves.changed() => self.give_up(),
            () = probing => {}
        }
    }

    /// Writes, which only a primary accepts.
    async fn prove(&mut self) -> Result<(), Outage> {
        match self.server.probe.exec_async(&mut self.connection).await {
            Err(source) if outage::is_elsewhere(&source) => {
                Err(Outage::TakesNoWrites { address: self.server.address.clone(), source })
            }
            Err(source) if source.is_io_error() || source.is_unrecoverable_error() => {
                Err(Outage::Connect { address: self.server.address.clone(), source })
            }
            // No memory or no permission: it is the right server, and readiness reports the reason.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Reports this connection as lost.
    pub(super) fn give_up(&self) {
        self.lost.cancel();
    }

    /// Returns an answer. Reports the connection as lost if there was none.
    pub(super) fn check<T>(&self, answer: RedisResult<T>) -> Result<T, Outage> {
        answer.map_err(|source: RedisError| {
            // Also after a time-out: a silent connection is not used again.
            if source.is_io_error() || source.is_unrecoverable_error() {
                self.give_up();
            } else if outage::is_elsewhere(&source) && !self.lost.is_cancelled() {
                self.give_up();
                self.server.moves.send_replace(());
            }
            Outage::Command { address: self.server.address.clone(), source }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_seven_are_too_old() {
        for version in ["2.8.4", "6.2.14"] {
            assert!(is_too_old(version), "{version}");
        }
        for version in ["7.0.0", "7.2.4", "10.1.0", "255.255.255", "unstable", ""] {
            assert!(!is_too_old(version), "{version}");
        }
    }
}
