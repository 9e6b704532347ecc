//! Reads a stream from a cursor until it is sealed.
//!
//! This is the only read loop: the log is the truth, wake-ups are hints (I7). It takes the wake-ups before its first read, once,
//! so nothing is missed at the seam between replay and live; a slow recheck sits underneath, so losing every wake-up
//! costs latency and never an entry; where there are no wake-ups at all, it looks twice a second until there are. It also
//! keeps the audience alive, ends a stream that no worker can end any more (I6, I10), and has the job of a generation stored
//! again that waits without one (I11). Framing, heartbeats, resuming and drain belong to the front ends.
//!
//! An id is not a stream: one that was removed, or that a log has lost, may be taken again, at any moment and without a
//! word (a removal is announced; the loss of a server's memory is not). So every page and every hint says which stream it
//! is of, by its epoch, and nothing is given out that is of another one than the first page was. A stream that its
//! worker writes anew is the same one: it keeps what was fixed when it was created.

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

/// How many entries a follower asks for at once: enough to paint a backlog in few steps, little enough that a slow
/// reader of a long stream holds little memory.
const PAGE: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

/// How long a follower holds on while the log is unavailable. Longer than a restart of Redis takes; shorter than a
/// person's patience with a reader that could resume elsewhere.
const LOG_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a follower holds on after the log has lost the stream, or entries that were given out. A worker that lives
/// notices at its next check, which takes half a second once it has reached the log again, and writes the stream anew.
const LOSS_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a follower looks without being told, and says that it is there: twice in the time after which it would count
/// as gone, so that one of the two may be late.
const RECHECK: Duration = Duration::from_millis(2500);
const _: () = assert!(RECHECK.as_millis() * 2 <= PRESENCE_TTL.as_millis(), "one may be late");

/// How often a follower looks that has no wake-ups, and how often it tries to get some.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const RESUBSCRIBE_INTERVAL: Duration = Duration::from_secs(5);

/// How soon a follower that could not say that it is there says so again.
const PRESENCE_RETRY: Duration = Duration::from_millis(500);

/// How long after a stream's own deadlines it counts as lost: more than the clocks of two machines differ.
const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// One reader of one stream.
#[derive(Debug)]
pub struct Follower {
    source: FollowedStream,
    cursor: Seq,
    subscription: Subscription,
    /// Why the next step is what it is.
    state: State,
    recheck: Interval,
    /// Until when the model is waited for, as the caller learned it last.
    waiting_told: Option<Timestamp>,
    keeper: Option<Arc<JobKeeper>>,
    job_watch: JobWatch,
    /// How the stream stood when it was opened, until there is a keeper to look at it.
    found: Option<Phase>,
}

/// Whether there are wake-ups.
#[derive(Debug)]
enum Subscription {
    Active(Wakeups),
    /// The log gives none now.
    Missing {
        subscribe_at: Instant,
    },
}

impl Subscription {
    fn missing() -> Self {
        Self::Missing { subscribe_at: Instant::now() + RESUBSCRIBE_INTERVAL }
    }
}

/// What [`Follower::next_update`] gives.
#[derive(Clone, Debug)]
pub enum Update {
    /// The next entries: at least one, consecutive, right after the cursor.
    Entries(Arc<[Entry]>),
    /// The generation waits for its model, which is busy or cannot be reached, and asks it again at this time. That is no
    /// entry: a reader that comes later may not learn of it.
    Waiting {
        /// When the model is asked again, by the clock of the worker that asked last.
        until: Timestamp,
    },
}

#[derive(Debug)]
enum State {
    /// There may be more to read.
    Read,
    /// Under way. Kept here, so that whoever stops waiting for it, and comes back, finds it where it was.
    Reading(PendingRead),
    /// A page that was read ahead.
    Opened(Arc<[Entry]>),
    /// All that is there was given out.
    Wait,
    /// The terminal entry was given out, or lies before the cursor.
    Ended,
}

/// One stream, to be looked at.
#[derive(Clone, Debug)]
struct FollowedStream {
    log: Arc<dyn TokenLog>,
    clock: Arc<dyn Clock>,
    id: GenerationId,
    /// Which stream of this id.
    epoch: Epoch,
}

/// A look at the log, with all the patience that it takes.
struct PendingRead(BoxFuture<'static, Result<ReadOutcome, FollowError>>);

impl fmt::Debug for PendingRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingRead").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct ReadOutcome {
    page: Page,
    /// When to say again that somebody is here, if the log could not be told.
    touch_again_at: Option<Instant>,
    /// Wake-ups, if there were none and now there are.
    wakeups: Option<Wakeups>,
}

impl Follower {
    /// Begins to read after the cursor. What can go wrong before the first byte goes wrong here. Whoever has a cursor has
    /// read: when a log that may have lost data does not know what the cursor counts, ten seconds are given for a worker to
    /// write it again. That there are no wake-ups is no error: then the log is looked at more often.
    ///
    /// # Errors
    /// [`FollowError::NotFound`], [`FollowError::BeyondEnd`] for a cursor that no reader of this stream can have, and
    /// [`FollowError::Unavailable`].
    pub async fn open(
        log: Arc<dyn TokenLog>,
        clock: Arc<dyn Clock>,
        id: GenerationId,
        after: Seq,
    ) -> Result<Self, FollowError> {
        // The order matters: what is appended between the two is seen twice by us and once by the reader.
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

    /// Begins to read a stream that is known to be there, without asking the log for anything yet: for one that was accepted a
    /// moment ago. [`Self::next`] waits for what cannot be read yet.
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

    /// With a keeper that stores the job of the generation again, should the queue have lost it.
    #[must_use]
    pub(crate) fn kept_by(mut self, keeper: Arc<JobKeeper>) -> Self {
        if let Some(phase) = self.found.take() {
            // Nothing is concluded from one look.
            let _ = keeper.is_job_lost(&mut self.job_watch, phase);
        }
        self.keeper = Some(keeper);
        self
    }

    /// Whether everything has been given out, the terminal entry included.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The last entry that was given out.
    pub fn cursor(&self) -> Seq {
        self.cursor
    }

    /// Waits for the next entries: at least one, consecutive, right after the cursor. `None` after the terminal entry.
    ///
    /// May be dropped and called again without losing anything, the time included that something has taken already. While
    /// the log is unavailable it keeps trying for a minute.
    ///
    /// # Errors
    /// [`FollowError::Unavailable`] when patience has run out: the reader may resume from its cursor, here or on another
    /// replica. [`FollowError::Lost`] when the log has no longer what was given out, and nobody has put it back for ten
    /// seconds, or another stream has its id now: nothing will follow.
    pub async fn next(&mut self) -> Result<Option<Arc<[Entry]>>, FollowError> {
        loop {
            match self.next_update().await? {
                Some(Update::Entries(entries)) => return Ok(Some(entries)),
                Some(Update::Waiting { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// As [`Self::next`], and says also that the generation waits for its model, once for each wait.
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
                // Both futures may be dropped: a hint that is lost with one is made up for by the recheck.
                // The recheck first: hints that are always ready must not keep the audience from being attended.
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
                        // About another stream. The log says which of the two it has.
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

    /// Moves the cursor past entries that came from a read, of which there may be more.
    fn give(&mut self, entries: Arc<[Entry]>) -> Update {
        // A page that was not full still may not be the end: look again, and wait when that finds nothing.
        self.advance(entries, State::Read)
    }

    /// Moves the cursor past entries that came with a hint: the next thing to do is to wait for the next hint.
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
    /// Whether it is time to try again to get wake-ups. Then the next time is later.
    fn is_time_to_subscribe(&mut self) -> bool {
        match self {
            Self::Missing { subscribe_at } if *subscribe_at <= Instant::now() => {
                *self = Self::missing();
                true
            }
            Self::Active(_) | Self::Missing { .. } => false,
        }
    }

    /// Waits for the next hint. `None` when it is time to look without one: there are none. May be dropped and called again.
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

/// Wake-ups for a stream, where the log gives any.
async fn subscribe(log: &dyn TokenLog, id: GenerationId) -> Option<Wakeups> {
    // Tried again every few seconds for every reader, and `ready` says why: not a line each at `warn`.
    let wakeups = log.wakeups(id).await;
    wakeups.inspect_err(|error| {
        tracing::debug!(generation.id = %id, error = %explain(error), "no wake-ups for a reader; reading without them");
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

    /// Tries to get wake-ups, and looks after that.
    fn subscribe(self, cursor: Seq) -> PendingRead {
        let subscribing = async move {
            let wakeups = subscribe(&*self.log, self.id).await;
            let page = self.read(cursor).await?;
            Ok(ReadOutcome { page, touch_again_at: None, wakeups })
        };
        PendingRead(subscribing.boxed())
    }

    /// Has the job of the generation stored again, and looks.
    fn store_again(self, keeper: Arc<JobKeeper>, cursor: Seq) -> PendingRead {
        let storing = async move {
            keeper.store_again(self.id).await;
            let page = self.read(cursor).await?;
            Ok(ReadOutcome { page, touch_again_at: None, wakeups: None })
        };
        PendingRead(storing.boxed())
    }

    /// The slow path under every wake-up: says that somebody is here, looks for what a lost hint announced, and ends the
    /// stream when nobody else will.
    fn recheck(self, cursor: Seq) -> PendingRead {
        let recheck = async move {
            let (touch_again_at, page) = futures::join!(self.touch_presence(), self.read(cursor));
            let mut page = page?;
            if page.entries.is_empty()
                && let Some(lost) = given_up(page.phase, &*self.clock)
            {
                match end_given_up(&*self.log, self.id, &lost).await {
                    Ok(()) => page = self.read(cursor).await?,
                    // The next recheck tries again.
                    Err(error) => {
                        tracing::warn!(generation.id = %self.id, %error, "could not end a lost generation");
                    }
                }
            }
            Ok(ReadOutcome { page, touch_again_at, wakeups: None })
        };
        PendingRead(recheck.boxed())
    }

    /// When to try again, if need be: soon, and not only at the next recheck. Two short outages must not make a reader look
    /// gone.
    async fn touch_presence(&self) -> Option<Instant> {
        let error = self.log.touch_presence(self.id).await.err()?;
        tracing::debug!(generation.id = %self.id, %error, "could not say that a reader is here");
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
                            "the log has lost what a reader has seen; waiting for a worker to write it again"
                        );
                        backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
                        Instant::now()
                    });
                    if since.elapsed() >= LOSS_TIMEOUT {
                        return Err(FollowError::Lost(self.id));
                    }
                }
                Err(error @ LogError::Damaged(_)) => return Err(damaged(self.id, &error)),
                // Whatever the log lacks when it is back, its workers have to reach it first.
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
            // The cursor counts what was there before.
            Ok(page) if *found.get_or_insert(page.epoch) != page.epoch => {
                return Err(FollowError::NotFound(id));
            }
            Ok(page) if after <= page.last_seq => return Ok(page),
            Ok(Page { last_seq, phase, .. }) => {
                let beyond = FollowError::BeyondEnd { after, last_seq };
                // There is no worker that could write more.
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

/// The entries of the stream cannot be read any more, and waiting does not bring them back.
fn damaged(id: GenerationId, error: &LogError) -> FollowError {
    tracing::error!(generation.id = %id, error = %explain(error), "a stream cannot be read any more; a reader gets `lost`");
    FollowError::Lost(id)
}

/// How a stream ends that no worker will end; `None` while one may.
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

/// Ends a stream that is [`given_up`]. One that another reader has ended is as good, and that reader counts it.
///
/// # Errors
/// As [`TokenLog::open_writer`] and [`crate::LogWriter::seal`], without [`LogError::Sealed`].
pub(crate) async fn end_given_up(
    log: &dyn TokenLog,
    id: GenerationId,
    lost: &Failure,
) -> Result<(), LogError> {
    tracing::warn!(generation.id = %id, ?lost, "ending a generation that no worker will end");
    end(log, id, lost).await
}

/// Ends a stream that no worker has. It is no error when another one has ended it meanwhile.
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
    /// No such stream is kept.
    #[error("there is no generation {0}: it never was, or its retention time is over")]
    NotFound(GenerationId),
    /// The cursor lies behind the end of the stream.
    #[error("the cursor {after} lies behind the end of this stream, which is at {last_seq}")]
    BeyondEnd {
        /// The cursor.
        after: Seq,
        /// The last entry of the stream.
        last_seq: Seq,
    },
    /// The log has lost the stream while it was read, and no worker has put it back, or it was removed. It is over, also
    /// when another stream has its id now.
    #[error("the token log has lost generation {0}, and no worker has written it again")]
    Lost(GenerationId),
    /// The log cannot be reached. Try again later.
    #[error("the token log is unavailable")]
    Unavailable(#[source] LogError),
}

impl From<LogError> for FollowError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::NotFound(id) => Self::NotFound(id),
            // Reading is never fenced or sealed off: an adapter that says so is not to be trusted now.
            LogError::Fenced | LogError::Sealed | LogError::Damaged(_) | LogError::Unavailable(_) => {
                Self::Unavailable(error)
            }
        }
    }
}
