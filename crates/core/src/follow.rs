//! Reads a stream from a cursor until it is sealed.
//!
//! This is the only read loop. The log is the truth, wake-ups are hints (I7):
//!
//! - It subscribes before its first read, so nothing is missed between replay and live.
//! - It also reads at an interval, so losing every wake-up costs latency and no entry. Without wake-ups it reads twice a second.
//! - It keeps the presence of the reader, ends a stream that no worker can end (I6, I10), and has a lost job stored again (I11).
//!
//! An id can be reused after its stream was removed or lost, so a page or a hint can belong to another stream. Each says which
//! one by its epoch, and a follower returns only entries of the epoch of its first page. A stream that its worker restores
//! keeps its epoch.
//!
//! Not here: framing, heartbeats, resuming and drain. They belong to the front ends.

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

use crate::{
    clock::{Clock, Timestamp},
    epoch::Epoch,
    error::explain,
    event::{Entry, Event, Failure, Seq},
    id::GenerationId,
    keeper::{JobKeeper, JobWatch},
    metrics,
    retry::Backoff,
    token_log::{Hint, LogError, PRESENCE_TTL, Page, Phase, TokenLog, Wakeups},
};

/// How many entries are read at once: few reads for a backlog, and little memory for a slow reader.
const PAGE: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

/// How long a follower retries while the log is unavailable. Longer than a restart of Redis. After it, the reader can resume at
/// another replica.
const LOG_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a follower retries after the log has lost the stream, or entries that it returned. A live worker notices within
/// 0.5 s after it can reach the log again, and restores the stream.
const LOSS_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a follower reads without a wake-up and records its presence: twice in [`PRESENCE_TTL`], so that one may be late.
const RECHECK: Duration = Duration::from_millis(2500);
const _: () = assert!(RECHECK.as_millis() * 2 <= PRESENCE_TTL.as_millis(), "one may be late");

/// Without wake-ups: how often a follower reads, and how often it tries to subscribe.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const RESUBSCRIBE_INTERVAL: Duration = Duration::from_secs(5);

/// When a follower retries to record its presence.
const PRESENCE_RETRY: Duration = Duration::from_millis(500);

/// How long after its deadlines a stream counts as lost. More than the clocks of two machines differ.
const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// One reader of one stream.
#[derive(Debug)]
pub struct Follower {
    source: FollowedStream,
    cursor: Seq,
    subscription: Subscription,
    state: State,
    recheck: Interval,
    /// The last [`Update::Waiting`] that was returned.
    waiting_told: Option<Timestamp>,
    keeper: Option<Arc<JobKeeper>>,
    job_watch: JobWatch,
    /// The phase when the stream was opened, until a keeper is set.
    found: Option<Phase>,
}

/// Whether the follower gets wake-ups.
#[derive(Debug)]
enum Subscription {
    Active(Wakeups),
    /// The log gives none at the moment.
    Missing {
        subscribe_at: Instant,
    },
}

impl Subscription {
    fn missing() -> Self {
        Self::Missing { subscribe_at: Instant::now() + RESUBSCRIBE_INTERVAL }
    }
}

/// The result of [`Follower::next_update`].
#[derive(Clone, Debug)]
pub enum Update {
    /// The next entries: at least one, consecutive, right after the cursor.
    Entries(Arc<[Entry]>),
    /// The generation waits for its model, which is busy or cannot be reached. This is not an entry: later readers may not
    /// get it.
    Waiting {
        /// When the model is asked again, by the clock of the last worker.
        until: Timestamp,
    },
}

#[derive(Debug)]
enum State {
    /// There may be more to read.
    Read,
    /// A read is in progress. It is kept here, so that dropping [`Follower::next`] does not restart it.
    Reading(PendingRead),
    /// A page that was read ahead.
    Opened(Arc<[Entry]>),
    /// Everything was returned.
    Wait,
    /// The terminal entry was returned, or lies before the cursor.
    Ended,
}

/// A stream, to be read.
#[derive(Clone, Debug)]
struct FollowedStream {
    log: Arc<dyn TokenLog>,
    clock: Arc<dyn Clock>,
    id: GenerationId,
    /// Tells the stream from others of its id.
    epoch: Epoch,
}

/// A read of the log with its retries.
struct PendingRead(BoxFuture<'static, Result<ReadOutcome, FollowError>>);

impl fmt::Debug for PendingRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingRead").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct ReadOutcome {
    page: Page,
    /// When to record the presence again, if that failed.
    touch_again_at: Option<Instant>,
    /// A new subscription.
    wakeups: Option<Wakeups>,
}

impl Follower {
    /// Opens a stream to read after the cursor. If the log may have lost data and does not have the entry at the cursor, waits
    /// up to 10 s for a worker to restore it. Without wake-ups the log is read more often; that is no error.
    ///
    /// # Errors
    /// [`FollowError::NotFound`], [`FollowError::BeyondEnd`], [`FollowError::Unavailable`].
    pub async fn open(
        log: Arc<dyn TokenLog>,
        clock: Arc<dyn Clock>,
        id: GenerationId,
        after: Seq,
    ) -> Result<Self, FollowError> {
        // Subscribe first, read second: entries appended in between arrive twice here, and once at the reader.
        let wakeups = subscribe(&*log, id).await;
        let Page { entries, last_seq: _, phase, epoch } = first_page(&*log, id, after).await?;
        let state = match (entries.is_empty(), phase) {
            (false, _) => State::Opened(entries.into()),
            (true, Phase::Sealed) => State::Ended,
            (true, _) => State::Wait,
        };
        if phase != Phase::Sealed {
            log.touch_presence(id).await?;
        }
        let source = FollowedStream { log, clock, id, epoch };
        let mut follower =
            Self::at(source, after, wakeups.map_or_else(Subscription::missing, Subscription::Active), state);
        follower.found = Some(phase);
        Ok(follower)
    }

    /// Opens a stream that is known to exist, without I/O. [`Self::next`] waits for what cannot be read yet.
    pub(crate) fn begin(
        log: Arc<dyn TokenLog>,
        clock: Arc<dyn Clock>,
        id: GenerationId,
        epoch: Epoch,
        after: Seq,
    ) -> Self {
        let source = FollowedStream { log, clock, id, epoch };
        let state = State::Reading(source.clone().recheck(after));
        Self::at(source, after, Subscription::Missing { subscribe_at: Instant::now() }, state)
    }

    fn at(source: FollowedStream, cursor: Seq, subscription: Subscription, state: State) -> Self {
        let mut recheck = interval_at(Instant::now() + RECHECK, RECHECK);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (waiting_told, keeper, job_watch) = (None, None, JobWatch::default());
        Self { source, cursor, subscription, state, recheck, waiting_told, keeper, job_watch, found: None }
    }

    /// Sets the keeper that stores the job again if the queue loses it.
    #[must_use]
    pub(crate) fn kept_by(mut self, keeper: Arc<JobKeeper>) -> Self {
        if let Some(phase) = self.found.take() {
            // A single observation gives no result.
            let _ = keeper.is_job_lost(&mut self.job_watch, phase);
        }
        self.keeper = Some(keeper);
        self
    }

    /// Whether everything was returned, including the terminal entry.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The seq of the last entry that was returned.
    pub fn cursor(&self) -> Seq {
        self.cursor
    }

    /// Waits for the next entries: at least one, consecutive, right after the cursor. `None` after the terminal entry.
    ///
    /// Can be dropped and called again without losing anything; time-outs go on. Retries for 60 s while the log is
    /// unavailable.
    ///
    /// # Errors
    /// [`FollowError::Unavailable`] after 60 s: the reader can resume from its cursor, here or at another replica.
    /// [`FollowError::Lost`] when the log does not have what was returned and no worker has restored it for 10 s, or when
    /// another stream has the id: nothing will follow.
    pub async fn next(&mut self) -> Result<Option<Arc<[Entry]>>, FollowError> {
        loop {
            match self.next_update().await? {
                Some(Update::Entries(entries)) => return Ok(Some(entries)),
                Some(Update::Waiting { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// As [`Self::next`], and also returns [`Update::Waiting`], once for each wait.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_update(&mut self) -> Result<Option<Update>, FollowError> {
        loop {
            match &mut self.state {
                State::Ended => return Ok(None),
                State::Opened(entries) => {
                    let entries = Arc::clone(entries);
                    return Ok(Some(self.give(entries)));
                }
                State::Read => self.state = State::Reading(self.source.clone().look(self.cursor)),
                State::Reading(looking) => {
                    let looked = (&mut looking.0).await;
                    self.state = State::Read;
                    let ReadOutcome { page, touch_again_at, wakeups } = looked?;
                    if let Some(soon) = touch_again_at {
                        self.recheck.reset_at(soon);
                    }
                    if let Some(wakeups) = wakeups {
                        self.subscription = Subscription::Active(wakeups);
                    }
                    if !page.entries.is_empty() {
                        return Ok(Some(self.give(page.entries.into())));
                    }
                    self.state = match page.phase {
                        Phase::Sealed => State::Ended,
                        Phase::Queued { .. } | Phase::Running { .. } => State::Wait,
                    };
                    if let Some(keeper) = &self.keeper
                        && keeper.is_job_lost(&mut self.job_watch, page.phase)
                    {
                        let storing = self.source.clone().store_again(Arc::clone(keeper), self.cursor);
                        self.state = State::Reading(storing);
                    }
                    if let Phase::Running { waiting_until: Some(until), .. } = page.phase
                        && !page.phase.has_owner()
                        && self.waiting_told.replace(until) != Some(until)
                    {
                        return Ok(Some(Update::Waiting { until }));
                    }
                }
                // Both futures can be dropped: the recheck makes up for a lost hint. The recheck is polled first, because a
                // flood of hints must not keep it from recording the presence.
                State::Wait => tokio::select! {
                    biased;
                    _ = self.recheck.tick() => {
                        self.state = State::Reading(self.source.clone().recheck(self.cursor));
                    }
                    hint = self.subscription.hint() => match hint {
                        None if self.subscription.is_time_to_subscribe() => {
                            self.state = State::Reading(self.source.clone().subscribe(self.cursor));
                        }
                        None => self.state = State::Read,
                        Some(hint) => match hint {
                        Hint::Look => self.state = State::Read,
                        // About another stream. The log decides which one exists.
                        Hint::Appended { epoch, .. } if epoch != self.source.epoch => {
                            self.state = State::Read;
                        }
                        Hint::Appended { entries, .. } => match entries.first() {
                            Some(first) if first.seq == self.cursor.next() => {
                                return Ok(Some(self.give_waiting(entries)));
                            }
                            _ if entries.last().is_none_or(|last| last.seq <= self.cursor) => {}
                            _ => self.state = State::Read,
                        },
                    }},
                },
            }
        }
    }

    /// Returns entries from a read. There may be more.
    fn give(&mut self, entries: Arc<[Entry]>) -> Update {
        self.advance(entries, State::Read)
    }

    /// Returns entries from a hint, then waits for the next hint.
    fn give_waiting(&mut self, entries: Arc<[Entry]>) -> Update {
        self.advance(entries, State::Wait)
    }

    fn advance(&mut self, entries: Arc<[Entry]>, then: State) -> Update {
        if let Some(last) = entries.last() {
            self.cursor = last.seq;
            self.state = if last.event.is_terminal() { State::Ended } else { then };
        }
        self.waiting_told = None;
        if let Some(keeper) = &self.keeper {
            keeper.has_begun(&mut self.job_watch);
        }
        Update::Entries(entries)
    }
}

impl Subscription {
    /// Whether to try to subscribe now. Sets the next time.
    fn is_time_to_subscribe(&mut self) -> bool {
        match self {
            Self::Missing { subscribe_at } if *subscribe_at <= Instant::now() => {
                *self = Self::missing();
                true
            }
            Self::Active(_) | Self::Missing { .. } => false,
        }
    }

    /// Waits for the next hint. `None` when there are no wake-ups and it is time to read. Can be dropped and called again.
    async fn hint(&mut self) -> Option<Hint> {
        match self {
            Self::Active(wakeups) => Some(wakeups.next().await),
            Self::Missing { .. } => {
                sleep(POLL_INTERVAL).await;
                None
            }
        }
    }
}

/// Subscribes to a stream. `None` when that fails.
async fn subscribe(log: &dyn TokenLog, id: GenerationId) -> Option<Wakeups> {
    // At `debug`: every reader retries every few seconds, and `ready` says why it fails.
    let wakeups = log.wakeups(id).await;
    wakeups.inspect_err(|error| {
        tracing::debug!(generation.id = %id, error = %explain(error), "cannot subscribe a reader to wake-ups; reading at an interval");
    })
    .ok()
}

impl FollowedStream {
    fn look(self, cursor: Seq) -> PendingRead {
        let look = async move {
            let page = self.read(cursor).await?;
            Ok(ReadOutcome { page, touch_again_at: None, wakeups: None })
        };
        PendingRead(look.boxed())
    }

    /// Tries to subscribe, then reads.
    fn subscribe(self, cursor: Seq) -> PendingRead {
        let subscribing = async move {
            let wakeups = subscribe(&*self.log, self.id).await;
            let page = self.read(cursor).await?;
            Ok(ReadOutcome { page, touch_again_at: None, wakeups })
        };
        PendingRead(subscribing.boxed())
    }

    /// Has the job stored again, then reads.
    fn store_again(self, keeper: Arc<JobKeeper>, cursor: Seq) -> PendingRead {
        let storing = async move {
            keeper.store_again(self.id).await;
            let page = self.read(cursor).await?;
            Ok(ReadOutcome { page, touch_again_at: None, wakeups: None })
        };
        PendingRead(storing.boxed())
    }

    /// Runs at an interval: records the presence, reads what a lost hint announced, and ends a stream that no worker will end.
    fn recheck(self, cursor: Seq) -> PendingRead {
        let recheck = async move {
            let (touch_again_at, page) = futures::join!(self.touch_presence(), self.read(cursor));
            let mut page = page?;
            if page.entries.is_empty()
                && let Some(lost) = given_up(page.phase, &*self.clock)
            {
                match end_given_up(&*self.log, self.id, &lost).await {
                    Ok(()) => page = self.read(cursor).await?,
                    // The next recheck retries.
                    Err(error) => {
                        tracing::warn!(generation.id = %self.id, %error, "could not end a lost generation");
                    }
                }
            }
            Ok(ReadOutcome { page, touch_again_at, wakeups: None })
        };
        PendingRead(recheck.boxed())
    }

    /// Records the presence of the reader. Returns when to retry after a failure: sooner than the next recheck, so that two
    /// short outages do not make the reader count as gone.
    async fn touch_presence(&self) -> Option<Instant> {
        let error = self.log.touch_presence(self.id).await.err()?;
        tracing::debug!(generation.id = %self.id, %error, "could not record the presence of a reader");
        Some(Instant::now() + PRESENCE_RETRY)
    }

    async fn read(&self, cursor: Seq) -> Result<Page, FollowError> {
        let began = Instant::now();
        let mut missing_since = None;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            match self.log.read(self.id, cursor, PAGE).await {
                Ok(page) if page.epoch != self.epoch => return Err(FollowError::Lost(self.id)),
                Ok(page) if cursor <= page.last_seq => return Ok(page),
                Ok(_) | Err(LogError::NotFound(_)) => {
                    let since: Instant = *missing_since.get_or_insert_with(|| {
                        tracing::warn!(
                            generation.id = %self.id, seq = %cursor,
                            "the token log has lost entries that a reader has; waiting for a worker to restore them"
                        );
                        backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
                        Instant::now()
                    });
                    if since.elapsed() >= LOSS_TIMEOUT {
                        return Err(FollowError::Lost(self.id));
                    }
                }
                Err(error @ LogError::Damaged(_)) => return Err(damaged(self.id, &error)),
                // After an outage, workers need time to restore what is missing.
                Err(LogError::Unavailable(_)) if began.elapsed() < LOG_TIMEOUT => missing_since = None,
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(backoff.advance()).await;
        }
    }
}

async fn first_page(log: &dyn TokenLog, id: GenerationId, after: Seq) -> Result<Page, FollowError> {
    let began = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
    let mut found = None;
    loop {
        let missing = match log.read(id, after, PAGE).await {
            // The cursor belongs to the earlier stream.
            Ok(page) if *found.get_or_insert(page.epoch) != page.epoch => {
                return Err(FollowError::NotFound(id));
            }
            Ok(page) if after <= page.last_seq => return Ok(page),
            Ok(Page { last_seq, phase, .. }) => {
                let beyond = FollowError::BeyondEnd { after, last_seq };
                // No worker can restore it.
                if !matches!(phase, Phase::Running { .. }) {
                    return Err(beyond);
                }
                beyond
            }
            Err(LogError::NotFound(id)) => FollowError::NotFound(id),
            Err(error @ LogError::Damaged(_)) => return Err(damaged(id, &error)),
            Err(error) => return Err(error.into()),
        };
        if after == Seq::START || !log.may_have_lost() || began.elapsed() >= LOSS_TIMEOUT {
            return Err(missing);
        }
        tokio::time::sleep(backoff.advance()).await;
    }
}

/// The entries of the stream cannot be read. Waiting does not help.
fn damaged(id: GenerationId, error: &LogError) -> FollowError {
    tracing::error!(generation.id = %id, error = %explain(error), "a stream is damaged; a reader gets `lost`");
    FollowError::Lost(id)
}

/// How a stream ends that no worker will end. `None` while a worker may end it.
pub(crate) fn given_up(phase: Phase, clock: &dyn Clock) -> Option<Failure> {
    match phase {
        Phase::Queued { start_by, .. } if clock.has_passed(start_by.after(CLOCK_SKEW)) => {
            Some(Failure::Expired)
        }
        Phase::Running { end_by, .. } if clock.has_passed(end_by.after(CLOCK_SKEW)) && !phase.has_owner() => {
            Some(Failure::Lost)
        }
        Phase::Queued { .. } | Phase::Running { .. } | Phase::Sealed => None,
    }
}

/// Ends a stream that is [`given_up`]. Succeeds also when another reader has ended it. That reader counts it.
///
/// # Errors
/// As [`TokenLog::open_writer`] and [`crate::LogWriter::seal`], without [`LogError::Sealed`].
pub(crate) async fn end_given_up(
    log: &dyn TokenLog,
    id: GenerationId,
    lost: &Failure,
) -> Result<(), LogError> {
    tracing::warn!(generation.id = %id, ?lost, "ended a generation that no worker will end");
    end(log, id, lost).await
}

/// Ends a stream that has no worker. Succeeds also when it is sealed already.
///
/// # Errors
/// As [`TokenLog::open_writer`] and [`crate::LogWriter::seal`], without [`LogError::Sealed`].
pub(crate) async fn end(log: &dyn TokenLog, id: GenerationId, failure: &Failure) -> Result<(), LogError> {
    let sealed = async {
        let last = Event::Failed { failure: failure.clone() };
        match log.open_writer(id).await {
            Err(LogError::Damaged(_)) => log.seal_damaged(id, &last).await,
            writer => writer?.seal(&last).await.map(drop),
        }
    };
    match sealed.await {
        Ok(()) => metrics::ended_outside_attempts(failure),
        Err(LogError::Sealed) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Why a stream cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// There is no such stream.
    #[error("there is no generation {0}: it never was, or its retention time is over")]
    NotFound(GenerationId),
    /// No reader of this stream can have the cursor: it lies after the last entry.
    #[error("the cursor {after} lies behind the end of this stream, which is at {last_seq}")]
    BeyondEnd {
        /// The cursor.
        after: Seq,
        /// The last entry of the stream.
        last_seq: Seq,
    },
    /// The stream was removed, or the log has lost it and no worker has restored it. Nothing will follow.
    #[error("the token log has lost generation {0}, and no worker has written it again")]
    Lost(GenerationId),
    /// The log cannot be reached. Retry later.
    #[error("the token log is unavailable")]
    Unavailable(#[source] LogError),
}

impl From<LogError> for FollowError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::NotFound(id) => Self::NotFound(id),
            // A read is never fenced or sealed. An adapter that says so has a defect; retrying later is the safe reaction.
            LogError::Fenced | LogError::Sealed | LogError::Damaged(_) | LogError::Unavailable(_) => {
                Self::Unavailable(error)
            }
        }
    }
}
