//! Stores the job of a waiting generation again when the queue has lost it.
//!
//! A queue can be deleted, purged, or restored from an older state. The stream has the request, so the job can be recreated
//! without the client (I11). A queue does not tell that a job is missing. The keeper concludes it: the generation has waited
//! for 10 s, no worker runs it, and the queue is empty or jobs that were stored later have begun. A wrong conclusion stores a
//! job twice, which is harmless. The log lets one process store it, once a minute at most.

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
    retry::LONGEST_BACKOFF,
    token_log::{JobClaim, LogError, Phase, TokenLog},
};

/// How long a generation waits before its job can count as lost. Longer than a queue needs to notice a dead or frozen worker.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// How often a watched generation is read while it waits, and while it runs.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_AT_RUNNING_EVERY: Duration = Duration::from_secs(60);

/// The maximum number of reads in a second. Beyond it, each generation is read less often.
const LOOKS_A_SECOND: u64 = 200;

/// The maximum number of watched generations (some MiB). Beyond it, only readers notice a lost job.
const MOST_WATCHED: usize = 50_000;

/// Stores jobs again.
pub(crate) struct JobKeeper {
    log: Arc<dyn TokenLog>,
    queue: Arc<dyn JobQueue>,
    clock: Arc<dyn Clock>,
    /// The latest creation time of a stream that was seen to begin, in milliseconds.
    newest_begun: AtomicU64,
    watched: Mutex<WatchList>,
}

#[derive(Debug, Default)]
struct WatchList {
    /// Sorted by due time. Without the one that is being read.
    due: VecDeque<Watched>,
    /// The ids of all, so that a repeated submission is watched once.
    ids: HashSet<GenerationId>,
}

#[derive(Debug)]
struct Watched {
    id: GenerationId,
    due: Instant,
    job_watch: JobWatch,
    /// Whether to watch it also while it runs, because it may have no reader.
    to_the_end: bool,
}

/// What one observer has seen of a waiting stream.
#[derive(Debug, Default)]
pub(crate) struct JobWatch {
    /// When the stream was created, if it was seen before its first attempt.
    queued_at: Option<Timestamp>,
    /// Since when it has no owner, by both clocks.
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

    /// Whether the job of a stream in this phase seems lost.
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
        // A generation that has begun may have been stored again for a retry, behind others.
        let stored_by = job_watch.queued_at.unwrap_or_else(|| alone_at.after(LONGEST_BACKOFF));
        let is_overtaken = stored_by.after(LOST_AFTER) < newest_begun;
        let is_lost = is_overtaken || self.queue.waiting() == 0;
        if is_lost {
            // The next conclusion needs new observations.
            job_watch.alone_since = None;
        }
        is_lost
    }

    /// An attempt has begun: jobs that were stored well before its job were leased too, or are lost.
    pub(crate) fn has_begun(&self, job_watch: &mut JobWatch) {
        if let Some(created_at) = job_watch.queued_at.take() {
            self.newest_begun.fetch_max(created_at.as_millis(), Ordering::Relaxed);
        }
    }

    /// Stores the job of a generation again, unless that was done recently.
    pub(crate) async fn store_again(&self, id: GenerationId) {
        match self.try_store_again(id).await {
            Ok(true) => {
                metrics::requeued();
                tracing::warn!(generation.id = %id, "the queue seems to have lost the job of a waiting generation; stored it again");
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
        // A stream of an older version has no request. Its client has to submit again.
        let Ok(request) = GenerateRequest::decode(&spec.request) else { return Ok(false) };
        if self.log.claim_job(id).await? != JobClaim::Granted {
            return Ok(false);
        }
        self.queue.enqueue(&Job { id, request: Some(request), epoch: Some(spec.epoch()) }).await?;
        if let Err(error) = self.log.job_stored(id).await {
            tracing::warn!(generation.id = %id, error = %explain(&error), "could not record that a job was stored; it may be stored once more");
        }
        Ok(true)
    }

    /// Watches a generation that was accepted here.
    pub(crate) fn watch(&self, id: GenerationId, to_the_end: bool) {
        let mut watched = self.watched();
        if watched.ids.len() < MOST_WATCHED && watched.ids.insert(id) {
            let due = Instant::now() + LOOK_EVERY;
            watched.put_back(Watched { id, due, job_watch: JobWatch::default(), to_the_end });
        }
    }

    /// Checks the watched generations until `stop` fires.
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

    /// Checks one generation. Returns it with its next due time, or `None` when it need not be watched any more.
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
    /// The next one that is due, or how long to wait. The wait is bounded, because a new one may be due earlier.
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
