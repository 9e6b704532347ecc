//! Stores the job of a waiting generation again when the queue has lost it.
//!
//! A queue can be deleted, purged, or come back without what it had confirmed. The stream has the request, so the job can be
//! made again, without help from the client (I11). That a job is missing cannot be seen at a queue; it is concluded: the
//! generation has waited for a while, no one works on it, and the queue holds nothing, or jobs that were stored later have
//! begun. A wrong conclusion costs a job that is stored twice, which does no harm; the log sees to it that it is stored once
//! a minute at most, by one process.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, Timestamp},
    error::{BoxError, explain},
    event::Seq,
    id::GenerationId,
    job::Job,
    job_queue::JobQueue,
    metrics,
    request::GenerateRequest,
    token_log::{JobClaim, LogError, Phase, TokenLog},
    worker::LONGEST_BACKOFF,
};

/// How long a generation waits before its job may count as lost: longer than a job is on its way from a queue to a worker
/// that has died or stands still.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// How often a generation that was accepted here is looked at while it waits, and while it runs.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_AT_RUNNING_EVERY: Duration = Duration::from_secs(60);

/// How many are looked at in a second at most: where more wait, each is looked at less often.
const LOOKS_A_SECOND: u64 = 200;

/// How many are watched at most, some MiB. Of those beyond, only readers notice that the job is lost.
const MOST_WATCHED: usize = 50_000;

/// Stores jobs again.
pub(crate) struct JobKeeper {
    log: Arc<dyn TokenLog>,
    queue: Arc<dyn JobQueue>,
    clock: Arc<dyn Clock>,
    /// When the newest stream was created that was seen to begin, in milliseconds.
    newest_begun: AtomicU64,
    watched: Mutex<WatchList>,
}

#[derive(Debug, Default)]
struct WatchList {
    /// By when they are due. Without the one that is looked at now.
    due: VecDeque<Watched>,
    /// Of all of them: a submission that is repeated is watched once.
    ids: HashSet<GenerationId>,
}

#[derive(Debug)]
struct Watched {
    id: GenerationId,
    due: Instant,
    job_watch: JobWatch,
    /// Whether to watch it also when it runs: no reader may ever look at it.
    to_the_end: bool,
}

/// What one observer has seen of a stream that waits.
#[derive(Debug, Default)]
pub(crate) struct JobWatch {
    /// When the stream was created, if it was seen before its first attempt.
    queued_at: Option<Timestamp>,
    /// Since when it was seen without an owner, by both clocks.
    alone_since: Option<(Instant, Timestamp)>,
}

impl fmt::Debug for JobKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobKeeper").finish_non_exhaustive()
    }
}

impl JobKeeper {
    pub(crate) fn new(log: Arc<dyn TokenLog>, queue: Arc<dyn JobQueue>, clock: Arc<dyn Clock>) -> Self {
        Self { log, queue, clock, newest_begun: AtomicU64::new(0), watched: Mutex::default() }
    }

    /// Whether the job of a stream that stands like this is lost, as far as can be told.
    pub(crate) fn is_job_lost(&self, job_watch: &mut JobWatch, phase: Phase) -> bool {
        let waiting_until = match phase {
            Phase::Sealed => return false,
            Phase::Queued { created_at, .. } => {
                job_watch.queued_at = Some(created_at);
                None
            }
            Phase::Running { waiting_until, .. } => {
                self.has_begun(job_watch);
                waiting_until
            }
        };
        if phase.has_owner() || waiting_until.is_some_and(|until| self.clock.now() < until) {
            job_watch.alone_since = None;
            return false;
        }
        let (since, alone_at) =
            *job_watch.alone_since.get_or_insert_with(|| (Instant::now(), self.clock.now()));
        if since.elapsed() < LOST_AFTER {
            return false;
        }
        let newest_begun = Timestamp::from_millis(self.newest_begun.load(Ordering::Relaxed));
        // One that has begun may have been stored again for a retry since then, behind the others.
        let stored_by = job_watch.queued_at.unwrap_or_else(|| alone_at.after(LONGEST_BACKOFF));
        let is_overtaken = stored_by.after(LOST_AFTER) < newest_begun;
        let is_lost = is_overtaken || self.queue.waiting() == 0;
        if is_lost {
            // The next conclusion is drawn from what is seen from here on.
            job_watch.alone_since = None;
        }
        is_lost
    }

    /// An attempt has begun: jobs that were stored well before this one's were taken too, or are lost.
    pub(crate) fn has_begun(&self, job_watch: &mut JobWatch) {
        if let Some(created_at) = job_watch.queued_at.take() {
            self.newest_begun.fetch_max(created_at.as_millis(), Ordering::Relaxed);
        }
    }

    /// Stores the job of a generation again, unless that was done a short while ago.
    pub(crate) async fn store_again(&self, id: GenerationId) {
        match self.try_store_again(id).await {
            Ok(true) => {
                metrics::requeued();
                tracing::warn!(generation.id = %id, "the queue has lost the job of a waiting generation; stored it again");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(generation.id = %id, error = %explain(&*error), "could not store a lost job again");
            }
        }
    }

    async fn try_store_again(&self, id: GenerationId) -> Result<bool, BoxError> {
        let spec = match self.log.spec(id).await {
            Err(LogError::NotFound(_)) => return Ok(false),
            spec => spec?,
        };
        // A stream of an older version: its client has to ask again.
        let Ok(request) = GenerateRequest::decode(&spec.request) else { return Ok(false) };
        if self.log.claim_job(id).await? != JobClaim::Granted {
            return Ok(false);
        }
        self.queue.enqueue(&Job { id, request: Some(request), epoch: Some(spec.epoch()) }).await?;
        if let Err(error) = self.log.job_stored(id).await {
            tracing::warn!(generation.id = %id, error = %explain(&error), "could not note that a job was stored; it may be stored once more");
        }
        Ok(true)
    }

    /// A generation was accepted here: it is watched from now on.
    pub(crate) fn watch(&self, id: GenerationId, to_the_end: bool) {
        let mut watched = self.watched();
        if watched.ids.len() < MOST_WATCHED && watched.ids.insert(id) {
            let due = Instant::now() + LOOK_EVERY;
            watched.put_back(Watched { id, due, job_watch: JobWatch::default(), to_the_end });
        }
    }

    /// Looks after the generations that were accepted here, until `stop` fires.
    pub(crate) async fn keep_watch(&self, stop: CancellationToken) {
        let watching = async {
            loop {
                let next = self.watched().next_due(Instant::now());
                let next = match next {
                    Ok(next) => next,
                    Err(wait) => {
                        sleep(wait).await;
                        continue;
                    }
                };
                let id = next.id;
                match self.look_after(next).await {
                    Some(again) => self.watched().put_back(again),
                    None => drop(self.watched().ids.remove(&id)),
                }
            }
        };
        stop.run_until_cancelled(watching).await;
    }

    /// What is to be looked at again, and when.
    async fn look_after(&self, mut watched: Watched) -> Option<Watched> {
        let every =
            match self.log.read(watched.id, Seq::START, NonZeroUsize::MIN).await.map(|page| page.phase) {
                Err(LogError::Unavailable(_)) => LOOK_EVERY,
                Err(_) | Ok(Phase::Sealed) => return None,
                Ok(phase) => {
                    if self.is_job_lost(&mut watched.job_watch, phase) {
                        self.store_again(watched.id).await;
                    }
                    match phase {
                        Phase::Running { .. } if !watched.to_the_end => return None,
                        Phase::Running { .. } if phase.has_owner() => LOOK_AT_RUNNING_EVERY,
                        _ => LOOK_EVERY,
                    }
                }
            };
        let at_least = Duration::from_secs(self.watched().ids.len() as u64 / LOOKS_A_SECOND);
        watched.due = Instant::now() + every.max(at_least);
        Some(watched)
    }

    fn watched(&self) -> MutexGuard<'_, WatchList> {
        // Nothing panics while it holds the lock.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WatchList {
    /// The next one to look at, or how long to wait before asking again: one that is watched from now on may be due first.
    fn next_due(&mut self, now: Instant) -> Result<Watched, Duration> {
        match self.due.front() {
            Some(first) if first.due > now => Err(first.due.duration_since(now).min(LOOK_EVERY)),
            Some(_) | None => self.due.pop_front().ok_or(LOOK_EVERY),
        }
    }

    fn put_back(&mut self, watched: Watched) {
        let at = self.due.partition_point(|other| other.due <= watched.due);
        self.due.insert(at, watched);
    }
}
