//! One connection to Redis that is always kept up.
//!
//! A task connects, waits for the loss, and connects again, for ever. Commands never connect: while an attempt is under way
//! they wait for it, and once it has failed they fail at once with its reason, so that people hear why now instead of a
//! time-out later. Whoever sees that a connection is dead or silent reports it, and the next one is made.
//!
//! One address may lead to another server at any time: a failover moves a virtual IP, a name, or what a proxy forwards to.
//! The old connection stays open then, to a server that is a replica now. So a connection counts as up only after a write,
//! every sign of life is a write, and a refusal that only another server could lift ([`outage::is_elsewhere`]) ends the
//! connection. The name is looked up again for each attempt. When one connection of a process is ended for this reason,
//! all others are: subscribers write nothing else, and would wait at the old server.
//!
//! The client's own manager is not used: it keeps a first connection that failed for another reason than I/O (a wrong
//! password that is corrected later), and it does not leave a connection that has gone silent.

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

/// The oldest version that has all that is used: flags of scripts, and the time at which a key expires.
const OLDEST: u32 = 7;

/// A connection that lasted this long was a good one: its loss is answered by connecting at once.
const LASTED: Duration = Duration::from_secs(5);

/// How often a connection is asked for a sign of life, which is a write: it may have gone silent, or its server may have
/// become a replica, while it was not used. The next append or wake-up should not be the one to find out.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// How long the key of the probe is kept, in milliseconds.
const KEEP_PROBE_MS: u64 = 60_000;

/// What to do with what the server says unasked. Called from the task that reads the socket: it must not block.
type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// The server, as all connections of a process know it.
pub(super) struct Server {
    client: Client,
    /// The same without a database of its own: a cluster and a sentinel refuse to choose one.
    without_database: Client,
    address: String,
    timeout: Duration,
    /// A write to a key that is never read.
    probe: Cmd,
    /// Changes when any connection was given up because the server is not the one to write to any more.
    moves: watch::Sender<()>,
}

/// Makes connections.
pub(super) struct Connector {
    server: Arc<Server>,
    on_push: OnPush,
}

/// A view of the connection that a [`Connector`] keeps up.
#[derive(Clone, Debug)]
pub(super) struct Link {
    address: String,
    user: Arc<str>,
    timeout: Duration,
    state: watch::Receiver<State>,
}

#[derive(Clone, Debug)]
enum State {
    /// The first attempt since the start or a loss is under way.
    Connecting,
    Up(Up),
    /// The last attempt failed; another one follows.
    Down(Outage),
}

/// A connection that works, as far as is known.
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) connection: MultiplexedConnection,
    server: Arc<Server>,
    lost: CancellationToken,
    since: Instant,
    /// Whether the server was away before it, as far as this process knows.
    is_regained: bool,
}

/// Without the clients, which know a password.
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

    /// Refuses servers that Tokenwire cannot work with. One that does not say what it is is trusted.
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

    /// Why the server could not be connected to, after it has said so.
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

/// Version and mode of a server, as far as it tells. Every user may greet; `INFO` is for a server that takes no greeting
/// within a connection.
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
            // Before the attempt: a move in the middle of it may be away from the server that it reaches.
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
                    // Said once per outage; the rest of it shows in what fails meanwhile.
                    if matches!(*state.borrow(), State::Connecting) {
                        let cause: &(dyn std::error::Error + 'static) = &outage;
                        tracing::warn!(cause, "redis is away; trying again until it is back");
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

/// Whether this is known to be too old; what does not look like a version is not.
fn is_too_old(version: &str) -> bool {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| major < OLDEST)
}

impl Link {
    /// The connection, waiting for the attempt that is under way.
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

    /// Waits for the first attempt to connect, and says whether the server is one that Tokenwire cannot work with.
    pub(super) async fn check_kind(&self) -> Result<(), Outage> {
        match self.up().await {
            Err(unsupported @ Outage::Unsupported { .. }) => Err(unsupported),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Waits until there is a connection, however long that takes.
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

    /// Sends commands that have nothing to do with each other, and gives each the answer that it got.
    pub(super) async fn each(
        &self,
        pipeline: &Pipeline,
    ) -> Result<impl Iterator<Item = Result<Value, Outage>>, Outage> {
        let mut up = self.up().await?;
        let answers = up.connection.send_packed_commands(pipeline, 0, pipeline.len()).await;
        let answers = up.check(answers)?;
        Ok(answers.into_iter().map(move |answer| up.check(answer.extract_error())))
    }

    /// An answer as what it ought to be.
    pub(super) fn understand<T: FromRedisValue>(&self, answer: Value) -> Result<T, Outage> {
        T::from_redis_value(answer)
            .map_err(|source| Outage::Command { address: self.address.clone(), source: source.into() })
    }

    /// Tells the server a script that travels by its name alone from now on.
    pub(super) async fn load(&self, script: &Script) -> Result<(), Outage> {
        let mut up = self.up().await?;
        let loaded = script.load_async(&mut up.connection).await;
        up.check(loaded).map(drop)
    }

    /// Whether the server is away, or has come back less than this time ago.
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

    /// How long an answer is waited for.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The name of the user that this process is to the server.
    pub(super) fn user(&self) -> String {
        self.user.to_string()
    }

    /// That what was published did not come back in time.
    pub(super) fn no_wake_up(&self) -> Outage {
        Outage::NoWakeUp { address: self.address.clone(), within: self.timeout }
    }

    /// That there was no answer in time.
    pub(super) fn silent(&self) -> Outage {
        Outage::Silent { address: self.address.clone(), within: self.timeout }
    }
}

impl State {
    /// Whether there is a connection of which nobody has said yet that it is lost.
    fn is_up(&self) -> bool {
        matches!(self, Self::Up(up) if !up.lost.is_cancelled())
    }
}

impl Up {
    /// Waits until this connection is known to be dead.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Asks for a sign of life every now and then, until this connection is known to be dead or of no use.
    async fn outlast(self, mut moves: watch::Receiver<()>) {
        let mut tick = interval_at(Instant::now() + PROBE_EVERY, PROBE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = self.connection.clone();
        let probing = async {
            loop {
                tick.tick().await;
                let answer = self.server.probe.exec_async(&mut connection).await;
                // Most refusals are no reason to leave: there may be no memory left, or no right to write.
                if self.check(answer).is_err_and(|outage| outage.may_be_cut_off()) {
                    self.give_up();
                }
            }
        };
        // All of these may be dropped: a probe without its answer does no harm.
        tokio::select! {
            () = self.lost.cancelled() => {}
            // It cannot end otherwise: this connection holds a sender.
            _ = moves.changed() => self.give_up(),
            () = probing => {}
        }
    }

    /// Writes, which only the server that is to be written to does.
    async fn prove(&mut self) -> Result<(), Outage> {
        match self.server.probe.exec_async(&mut self.connection).await {
            Err(source) if outage::is_elsewhere(&source) => {
                Err(Outage::TakesNoWrites { address: self.server.address.clone(), source })
            }
            Err(source) if source.is_io_error() || source.is_unrecoverable_error() => {
                Err(Outage::Connect { address: self.server.address.clone(), source })
            }
            // No memory left, or no right to write: it is the server that was meant, and readiness says what is wrong.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Says that this connection is of no use any more.
    pub(super) fn give_up(&self) {
        self.lost.cancel();
    }

    /// Passes an answer on, and gives the connection up when there was none.
    pub(super) fn check<T>(&self, answer: RedisResult<T>) -> Result<T, Outage> {
        answer.map_err(|source: RedisError| {
            // A time-out too: a connection that has gone silent is not waited for again.
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
