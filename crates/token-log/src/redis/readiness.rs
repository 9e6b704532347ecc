//! Whether the server does all that Tokenwire asks of it, for this user, now.
//!
//! A ping says little: a user may have the keys and not the channels, and then a prompt is stored whose readers are never
//! woken. So a trial does what a generation does, with a stream of its own: it creates, listens, opens, appends, is woken,
//! puts back, reads, attends, stops and removes. Every key of it expires within a minute, should this process end in between.
//!
//! A trial takes some round trips. There is one at a time in a process, and its outcome stands for a second.

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

/// How long an outcome stands.
const STANDS: Duration = Duration::from_secs(1);

/// How long the keys of a trial are kept when nothing removes them.
const KEEP: Duration = Duration::from_secs(60);

/// What was found last.
#[derive(Debug)]
pub(super) struct Readiness {
    turns: Semaphore,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    outcome: Option<(Instant, Result<(), Reason>)>,
    /// The stream of the last trial that came to its end: commands of one that was dropped may still arrive, so the next
    /// trial takes another stream.
    stream: Option<GenerationId>,
}

/// Why the server is not ready, for all who ask within a second.
#[derive(Clone, Debug)]
struct Reason(Arc<LogError>);

impl Default for Readiness {
    fn default() -> Self {
        Self { turns: Semaphore::new(1), found: Mutex::default() }
    }
}

impl Readiness {
    pub(super) async fn ask(&self, shared: &Arc<Shared>) -> Result<(), LogError> {
        // Whether there is a connection costs nothing, and is known better than a second ago.
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
        // Nothing panics while holding the lock, and what was found is replaced as a whole.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that happens to a generation, once.
async fn trial(shared: &Arc<Shared>, id: GenerationId) -> Result<(), LogError> {
    let outcome = live(shared, id).await;
    // Also after a failure: the keys would expire by themselves, but are not needed.
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

/// Names the right that the user lacks, where that is the reason.
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

/// The text is that of the cause, so that an error that is shown with its sources shows each once.
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
