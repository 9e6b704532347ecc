//! One connection to Redis that is always kept up.
//!
//! A task connects, waits for the loss, and connects again, for ever. Commands never connect: while an attempt is under way
//! they wait for it, and once it has failed they fail at once with its reason, so that people hear why now instead of a
//! time-out later. Whoever sees that a connection is dead or silent reports it, and the next one is made.
//!
//! The client's own manager is not used: it keeps a first connection that failed for another reason than I/O (a wrong
//! password that is corrected later), and it does not leave a connection that has gone silent.

use std::{sync::Arc, time::Duration};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, InfoDict, Pipeline, PushInfo, PushKind, RedisError,
    RedisResult, Script, ScriptInvocation, Value, aio::MultiplexedConnection,
};
use tokenwire_core::retry::Backoff;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

use super::outage::Outage;

/// The oldest version that has all that is used: flags of scripts, and the time at which a key expires.
const OLDEST: u32 = 7;

/// A connection that lasted this long was a good one: its loss is answered by connecting at once.
const LASTED: Duration = Duration::from_secs(5);

/// How often a connection is asked for a sign of life: it may have gone silent while nobody needed it, and the next
/// append or wake-up should not be the one to find out.
const PING_EVERY: Duration = Duration::from_secs(5);

/// What to do with what the server says unasked. Called from the task that reads the socket: it must not block.
type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Makes connections.
pub(super) struct Connector {
    client: Client,
    address: String,
    timeout: Duration,
    on_push: OnPush,
}

/// A view of the connection that a [`Connector`] keeps up.
#[derive(Clone, Debug)]
pub(super) struct Link {
    address: String,
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
    address: String,
    lost: CancellationToken,
}

impl Connector {
    pub(super) fn new(client: Client, timeout: Duration, on_push: OnPush) -> Self {
        let address = client.get_connection_info().addr().to_string();
        Self { client, address, timeout, on_push }
    }

    /// The connection, and the future that keeps it up for as long as it is polled.
    pub(super) fn start(self) -> (Link, impl Future<Output = ()> + Send) {
        let (announce, state) = watch::channel(State::Connecting);
        let link = Link { address: self.address.clone(), timeout: self.timeout, state };
        (link, self.keep_up(announce))
    }

    async fn keep_up(self, state: watch::Sender<State>) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            match self.connect().await {
                Ok(up) => {
                    tracing::info!(redis.address = %self.address, "connected to redis");
                    let since = Instant::now();
                    state.send_replace(State::Up(up.clone()));
                    up.outlast().await;
                    tracing::warn!(redis.address = %self.address, "lost the connection to redis");
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
                    state.send_replace(State::Down(outage));
                }
            }
            tokio::time::sleep(backoff.advance()).await;
        }
    }

    async fn connect(&self) -> Result<Up, Outage> {
        let attempt = async {
            let lost = CancellationToken::new();
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(self.timeout))
                .set_response_timeout(Some(self.timeout))
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
            let connection = self
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map_err(|source| Outage::Connect { address: self.address.clone(), source })?;
            let mut up = Up { connection, address: self.address.clone(), lost };
            self.check_version(&mut up).await?;
            Ok(up)
        };
        let silent = || Outage::Silent { address: self.address.clone(), within: self.timeout };
        tokio::time::timeout(self.timeout, attempt).await.unwrap_or_else(|_| Err(silent()))
    }

    async fn check_version(&self, up: &mut Up) -> Result<(), Outage> {
        let info = ::redis::cmd("INFO").arg("server").query_async::<InfoDict>(&mut up.connection).await;
        // A user who may not ask is trusted to have looked.
        let Some(version) = info.ok().and_then(|info| info.get::<String>("redis_version")) else {
            return Ok(());
        };
        if is_too_old(&version) {
            return Err(Outage::TooOld { address: self.address.clone(), version });
        }
        Ok(())
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

    /// Waits until there is a connection, however long that takes.
    pub(super) async fn wait_until_up(&self) -> Option<Up> {
        let mut state = self.state.clone();
        let state = state.wait_for(State::is_up).await.ok()?;
        match &*state {
            State::Up(up) => Some(up.clone()),
            State::Connecting | State::Down(_) => None,
        }
    }

    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Outage> {
        let mut up = self.up().await?;
        let answer = command.query_async(&mut up.connection).await;
        up.check(answer)
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

    /// Asks for a sign of life every now and then, until this connection is known to be dead.
    async fn outlast(mut self) {
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.lost.cancelled() => return,
                _ = ping.tick() => {
                    let answer = ::redis::cmd("PING").exec_async(&mut self.connection).await;
                    // Any answer will do, and no answer ends the loop.
                    let _ = self.check(answer);
                }
            }
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
            }
            Outage::Command { address: self.address.clone(), source }
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
