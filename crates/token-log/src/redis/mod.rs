//! The token log on Redis 7.0 or newer, or on Valkey: for many machines.
//!
//! A stream is a set of keys with one hash tag (`keys.rs`). Every change is one server-side script (`scripts.rs`), so the
//! server itself refuses an older writer (I3), and publishes only what it has stored (I7). Every key has a time to live
//! from its creation.
//!
//! The durability of an append is that of the server: `appendfsync always` survives a loss of power, `everysec` may lose
//! the last second, and a server without persistence loses everything. A live writer notices a loss at its next append or
//! check, and restores the stream (`restore.rs`), so there is never a gap (I1).
//!
//! Not here: a bound on the length of a stream (the model's token limit is one). Redis Cluster and Sentinel: the client
//! uses one address and refuses them ([`Redis::check_mode`]).

mod announcement;
mod appends;
mod attempts;
mod connection;
mod inspect;
mod keys;
mod outage;
mod page;
mod readiness;
mod restore;
mod rights;
mod scripts;
mod spec;
mod subscriptions;
mod writer;

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use ::redis::{IntoConnectionInfo, ProtocolVersion, RedisError};
use async_trait::async_trait;
use tokenwire_core::{
    CallerName, Clock, Event, Fingerprint, GenerationId, LogError, LogWriter, Seq, TokenLog,
    token_log::{
        CLAIM_TIME, Created, JobClaim, OnDisconnect, PRESENCE_TTL, Page, STORED_TIME, StreamSpec,
        WRITER_TIMEOUT, Wakeups,
    },
};
use tokio::task::JoinSet;

use self::{
    appends::Appends,
    connection::{Connector, Link, Server},
    keys::Keys,
    outage::Outage,
    readiness::Readiness,
    scripts::Scripts,
    subscriptions::Subscriptions,
    writer::RedisWriter,
};
use crate::{Inspection, record::Batch};

/// How long after a new connection the server may lack acknowledged entries. Live writers have restored them by then.
const MAY_HAVE_LOST: Duration = Duration::from_secs(30);

/// How to use a Redis server.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// `redis://[user][:password@]host[:port][/database]`, `rediss://` for TLS, `redis+unix:///path` for a socket.
    /// `valkey://` and `valkeys://` mean the same. Default: `redis://localhost:6379`.
    ///
    /// Set `maxmemory-policy noeviction` on the server.
    pub url: String,
    /// The prefix of all keys and channels. Default: `tokenwire`. Its user needs the rules `~tokenwire:* &tokenwire:* +@all
    /// -@admin -@dangerous`.
    pub prefix: String,
    /// How long a stream is kept after its end, or after its `end_by` if it is never sealed. Default: 24 h.
    pub retention: Duration,
    /// How long to wait for an answer. After it the server counts as unavailable. Default: 3 s.
    pub response_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "redis://localhost:6379".into(),
            prefix: "tokenwire".into(),
            retention: Duration::from_secs(24 * 60 * 60),
            response_timeout: Duration::from_secs(3),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        let Self { url: _, prefix, retention, response_timeout } = self;
        f.debug_struct("Config")
            .field("prefix", prefix)
            .field("retention", retention)
            .field("response_timeout", response_timeout)
            .finish_non_exhaustive()
    }
}

/// The URL is not valid. No connection was made.
#[derive(Debug, thiserror::Error)]
#[error("the url of redis is not valid")]
pub struct InvalidUrl(#[source] RedisError);

/// The server is of a kind that Tokenwire does not support.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UnsupportedServer(Outage);

/// A token log on a Redis server. Dropping it and its writers ends its tasks and connections.
#[derive(Debug)]
pub struct Redis {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    prefix: String,
    retention: Duration,
    clock: Arc<dyn Clock>,
    scripts: Scripts,
    /// The connection for commands.
    link: Link,
    appends: Appends,
    /// A connection of their own: the server disconnects slow subscribers, and a large page must not cause that.
    subscriptions: Subscriptions,
    readiness: Readiness,
    /// The tasks that keep both connections.
    _tasks: JoinSet<()>,
}

impl Redis {
    /// Begins to connect, and retries in the background. [`TokenLog::ready`] says whether the server is available. Must be
    /// called within a tokio runtime. `rediss://` needs a default crypto provider of rustls.
    ///
    /// # Errors
    /// [`InvalidUrl`].
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, InvalidUrl> {
        let Config { url, prefix, retention, response_timeout } = config;
        let info = url.as_str().into_connection_info().map_err(InvalidUrl)?;
        // Published messages need RESP3.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        // Without `nodelay` each append would wait some 40 ms.
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
        let server = Arc::new(Server::new(info, *response_timeout, prefix).map_err(InvalidUrl)?);

        let mut tasks = JoinSet::new();
        let (link, keep_up) = Connector::new(Arc::clone(&server), Arc::new(drop)).start();
        tasks.spawn(keep_up);
        let appends = Appends::start(link.clone(), &mut tasks);
        let subscriptions = Subscriptions::start(server, *response_timeout, &mut tasks);
        let shared = Shared {
            prefix: prefix.clone(),
            retention: *retention,
            clock,
            scripts: Scripts::new(),
            link,
            appends,
            subscriptions,
            readiness: Readiness::default(),
            _tasks: tasks,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Refuses a Redis Cluster and a Sentinel. Waits for the first attempt to connect, at most
    /// [`Config::response_timeout`]. A server that cannot be reached is no error: [`TokenLog::ready`] and the log report it
    /// later.
    ///
    /// # Errors
    /// [`UnsupportedServer`] with the reason, for operators.
    pub async fn check_mode(&self) -> Result<(), UnsupportedServer> {
        self.shared.link.check_kind().await.map_err(UnsupportedServer)
    }

    /// Reads everything that is stored of a stream. Changes nothing, and does not count as a reader.
    ///
    /// # Errors
    /// [`LogError::NotFound`], [`LogError::Unavailable`].
    pub async fn inspect(&self, id: GenerationId) -> Result<Inspection, LogError> {
        inspect::inspect(&self.shared, id).await
    }
}

impl Shared {
    fn keys(&self, id: GenerationId) -> Keys {
        Keys::new(&self.prefix, id)
    }

    /// [`TokenLog::create`] with another retention time.
    async fn create(
        &self,
        id: GenerationId,
        spec: &StreamSpec,
        retention: Duration,
    ) -> Result<Created, LogError> {
        let keys = self.keys(id);
        let grace = match spec.on_disconnect {
            OnDisconnect::Detached => None,
            OnDisconnect::CancelAfter(grace) => Some(grace),
        };
        let keep = spec.end_by.since(spec.created_at).saturating_add(retention);
        let mut script = self.scripts.create.prepare_invoke();
        script
            .key(&keys.meta)
            .key(&keys.entries)
            .key(&keys.audience)
            .arg(spec.fingerprint.as_bytes())
            .arg(spec.created_at.as_millis())
            .arg(spec.start_by.as_millis())
            .arg(spec.end_by.as_millis())
            .arg(millis(keep))
            .arg(grace.map_or(String::new(), |grace| millis(grace).to_string()))
            .arg(millis(PRESENCE_TTL.saturating_add(grace.unwrap_or_default())))
            .arg(&*spec.metadata)
            .arg(&*spec.request)
            .arg(spec.caller.name().map_or("", CallerName::as_str));
        let found: Option<Vec<u8>> = self.link.script(&script).await.map_err(|outage| outage.about(id))?;
        match found.map(<[u8; 32]>::try_from) {
            None => Ok(Created::New),
            Some(Ok(fingerprint)) => Ok(Created::Existing(Fingerprint::from_bytes(fingerprint))),
            Some(Err(_)) => Err(LogError::unavailable("the stream has no valid fingerprint")),
        }
    }

    async fn cancel(&self, id: GenerationId) -> Result<(), LogError> {
        let keys = self.keys(id);
        let mut script = self.scripts.cancel.key(&keys.meta);
        self.link.script(script.arg(&keys.stop)).await.map_err(|outage| outage.about(id))
    }

    async fn touch_presence(&self, id: GenerationId) -> Result<(), LogError> {
        let keys = self.keys(id);
        let mut script = self.scripts.touch_presence.prepare_invoke();
        script.key(&keys.meta).key(&keys.audience).arg(millis(PRESENCE_TTL));
        self.link.script(&script).await.map_err(|outage| outage.about(id))
    }

    async fn claim_job(&self, id: GenerationId) -> Result<JobClaim, LogError> {
        let keys = self.keys(id);
        let mut script = self.scripts.claim_job.key(&keys.meta);
        script.arg(millis(CLAIM_TIME)).arg(millis(STORED_TIME));
        let claim: String = self.link.script(&script).await.map_err(|outage| outage.about(id))?;
        Ok(match &*claim {
            "granted" => JobClaim::Granted,
            "stored" => JobClaim::Stored,
            _ => JobClaim::Taken,
        })
    }

    async fn job_stored(&self, id: GenerationId) -> Result<(), LogError> {
        let keys = self.keys(id);
        let script = self.scripts.job_stored.key(&keys.meta);
        self.link.script(&script).await.map_err(|outage| outage.about(id))
    }

    async fn open(
        self: &Arc<Self>,
        id: GenerationId,
        owner_silent_for: Duration,
    ) -> Result<Box<dyn LogWriter>, LogError> {
        Ok(Box::new(RedisWriter::open(Arc::clone(self), id, self.retention, owner_silent_for).await?))
    }

    async fn remove(&self, id: GenerationId) -> Result<(), LogError> {
        let keys = self.keys(id);
        let mut script = self.scripts.remove.prepare_invoke();
        script.key(&keys.meta).key(&keys.entries).key(&keys.audience).key(&keys.removed).arg(&keys.appended);
        self.link.script(&script).await.map_err(|outage| outage.about(id))
    }
}

#[async_trait]
impl TokenLog for Redis {
    async fn create(&self, id: GenerationId, spec: &StreamSpec) -> Result<Created, LogError> {
        self.shared.create(id, spec, self.shared.retention).await
    }

    async fn open_writer(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        self.shared.open(id, Duration::ZERO).await
    }

    async fn take_over(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        self.shared.open(id, WRITER_TIMEOUT).await
    }

    async fn seal_damaged(&self, id: GenerationId, last: &Event) -> Result<(), LogError> {
        let shared = &self.shared;
        let keys = shared.keys(id);
        let mut ask = ::redis::Pipeline::new();
        ask.cmd("HGET").arg(&keys.meta).arg("tail");
        let (last_seq,): (Option<u64>,) =
            shared.link.pipeline(&ask).await.map_err(|outage| outage.about(id))?;
        let first = Seq::new(last_seq.unwrap_or_default()).next();
        let batch = Batch { first, at: shared.clock.now(), events: vec![last.clone()] };
        let mut script = shared.scripts.seal_damaged.prepare_invoke();
        script.key(&keys.meta).key(&keys.entries).key(&keys.audience);
        script.arg(first.get()).arg(batch.encode()).arg(&keys.appended).arg(millis(shared.retention));
        shared.link.script(&script).await.map_err(|outage| outage.about(id))
    }

    async fn read(&self, id: GenerationId, after: Seq, limit: NonZeroUsize) -> Result<Page, LogError> {
        page::read(&self.shared.link, &self.shared.keys(id), id, after, limit).await
    }

    async fn spec(&self, id: GenerationId) -> Result<StreamSpec, LogError> {
        spec::read(&self.shared.link, &self.shared.keys(id), id).await
    }

    async fn wakeups(&self, id: GenerationId) -> Result<Wakeups, LogError> {
        let channel = self.shared.keys(id).appended;
        let hints = self.shared.subscriptions.listen(channel).await;
        hints.map(Wakeups::new).map_err(|outage| outage.about(id))
    }

    async fn cancel(&self, id: GenerationId) -> Result<(), LogError> {
        self.shared.cancel(id).await
    }

    async fn touch_presence(&self, id: GenerationId) -> Result<(), LogError> {
        self.shared.touch_presence(id).await
    }

    async fn remove(&self, id: GenerationId) -> Result<(), LogError> {
        self.shared.remove(id).await
    }

    async fn claim_job(&self, id: GenerationId) -> Result<JobClaim, LogError> {
        self.shared.claim_job(id).await
    }

    async fn job_stored(&self, id: GenerationId) -> Result<(), LogError> {
        self.shared.job_stored(id).await
    }

    fn may_have_lost(&self) -> bool {
        self.shared.link.is_younger_than(MAY_HAVE_LOST)
    }

    async fn ready(&self) -> Result<(), LogError> {
        self.shared.readiness.ask(&self.shared).await
    }
}

/// Whole milliseconds for commands. Bounded, because the server adds the current time.
fn millis(duration: Duration) -> u64 {
    const MOST: u64 = 1 << 50;
    u64::try_from(duration.as_millis()).map_or(MOST, |millis| millis.clamp(1, MOST))
}
