//! Whether the server does everything that Tokenwire needs, for this user, now.
//!
//! A ping shows little: a user without permission for channels could store prompts whose readers are never woken. So a
//! check does what a generation does, with a stream of its own: create, subscribe, open, append, receive, restore, read,
//! touch presence, stop and remove. Its keys expire within a minute if the process ends in between.
//!
//! A check takes some round trips. A process runs one at a time, and its result is used for a second.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokenwire_core::{
    Caller, Event, Fingerprint, GenerationId, LogError, LogWriter, Seq,
    token_log::{OnDisconnect, Ownership, StreamSpec, Wakeups},
};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Shared,
    outage::Outage,
    page,
    rights::{Forbidden, Right},
    spec,
    writer::RedisWriter,
};

/// How long a result is used.
const STANDS: Duration = Duration::from_secs(1);

/// The time to live of the keys of a check.
const KEEP: Duration = Duration::from_secs(60);

/// The last result.
#[derive(Debug)]
pub(super) struct Readiness {
    turns: Semaphore,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    outcome: Option<(Instant, Result<(), Reason>)>,
    /// The stream of the last completed check. Commands of a dropped check may still arrive, so the next check uses another
    /// stream.
    stream: Option<GenerationId>,
}

/// The error, for all who ask within a second.
#[derive(Clone, Debug)]
struct Reason(Arc<LogError>);

impl Default for Readiness {
    fn default() -> Self {
        Self { turns: Semaphore::new(1), found: Mutex::default() }
    }
}

impl Readiness {
    pub(super) async fn ask(&self, shared: &Arc<Shared>) -> Result<(), LogError> {
        // Checked first: it needs no I/O and is newer than the last result.
        shared.link.up().await.map_err(LogError::unavailable)?;
        shared.subscriptions.up().await.map_err(LogError::unavailable)?;
        let _turn = self.turns.acquire().await;
        let id = {
            let mut found = self.lock();
            match &found.outcome {
                Some((at, outcome)) if at.elapsed() < STANDS => {
                    return outcome.clone().map_err(LogError::unavailable);
                }
                _ => found.stream.take().unwrap_or_else(GenerationId::fresh),
            }
        };
        let outcome = trial(shared, id).await.map_err(|error| Reason(Arc::new(explain(shared, error))));
        *self.lock() = Found { outcome: Some((Instant::now(), outcome.clone())), stream: Some(id) };
        outcome.map_err(LogError::unavailable)
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        // Nothing panics while it holds the lock.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs every operation of a generation once.
async fn trial(shared: &Arc<Shared>, id: GenerationId) -> Result<(), LogError> {
    let outcome = live(shared, id).await;
    // Also after a failure. The keys would expire by themselves.
    let removed = shared.remove(id).await;
    outcome.and(removed)
}

async fn live(shared: &Arc<Shared>, id: GenerationId) -> Result<(), LogError> {
    let keys = shared.keys(id);
    let now = shared.clock.now();
    let spec = StreamSpec {
        fingerprint: Fingerprint::from_bytes([0; 32]),
        caller: Caller::Anonymous,
        on_disconnect: OnDisconnect::CancelAfter(KEEP),
        created_at: now,
        start_by: now,
        end_by: now,
        metadata: "ready?".into(),
        request: "ready?".into(),
    };
    shared.create(id, &spec, KEEP).await?;
    shared.job_stored(id).await?;
    shared.claim_job(id).await?;
    let listener = shared.subscriptions.listen(keys.appended.clone()).await;
    let mut wakeups = Wakeups::new(listener.map_err(|outage| outage.about(id))?);
    let mut writer = RedisWriter::open(Arc::clone(shared), id, KEEP, Duration::ZERO).await?;
    writer.append(&[Event::Delta { text: "ready?".into(), tokens: Vec::new() }]).await?;
    if tokio::time::timeout(shared.link.timeout(), wakeups.next()).await.is_err() {
        return Err(LogError::unavailable(shared.link.no_wake_up()));
    }
    writer.record_attempts(writer.attempts(), Ownership::Kept).await?;
    writer.put_back().await.map_err(|outage| outage.about(id))?;
    page::read(&shared.link, &keys, id, Seq::START, std::num::NonZeroUsize::MIN).await?;
    spec::read(&shared.link, &keys, id).await?;
    shared.touch_presence(id).await?;
    shared.cancel(id).await
}

/// Names the missing permission, if that is the reason.
fn explain(shared: &Shared, error: LogError) -> LogError {
    let outage = match error {
        LogError::Unavailable(cause) => match cause.downcast::<Outage>() {
            Ok(outage) => *outage,
            Err(cause) => return LogError::Unavailable(cause),
        },
        other => return other,
    };
    match outage {
        Outage::Command { address, source } => match Right::missing(&source, &shared.prefix) {
            Some(right) => {
                LogError::unavailable(Forbidden { address, user: shared.link.user(), right, source })
            }
            None => LogError::unavailable(Outage::Command { address, source }),
        },
        other => LogError::unavailable(other),
    }
}

/// The text of the cause, which an error with sources shows once.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            LogError::Unavailable(cause) => cause.fmt(f),
            other => other.fmt(f),
        }
    }
}

impl std::error::Error for Reason {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            LogError::Unavailable(cause) => cause.source(),
            other => other.source(),
        }
    }
}
