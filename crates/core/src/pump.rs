//! Moves what a model says into the log.
//!
//! Batching is natural, not timed: one append is in flight, and what the model says meanwhile joins the next one. The
//! first delta of an idle stream goes at once; under load the batches grow by themselves. When the log falls behind or
//! goes away, deltas gather up to a bound in bytes, and then the model is not asked for more. An append that has become
//! durable wakes nobody here: its outcome is asked for when there is more to append.
//!
//! StartedEvent and sealing the stream, and what an ending means for the job, are the worker's.

use std::{
    pin::{Pin, pin},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::{
    BoxError,
    event::{CancelCause, Event, FinishReason, Usage},
    metrics,
    model::{ModelError, Output, OutputStream},
    retry::Backoff,
    token_log::{LogError, LogWriter, WRITER_TIMEOUT},
    worker::Unproven,
};

/// How often a silent generation asks the log whether it still owns its stream and whether anybody wants it, and so says
/// that it lives.
pub(crate) const CHECK_EVERY: Duration = Duration::from_millis(500);
const _: () =
    assert!(CHECK_EVERY.as_millis() * 3 <= WRITER_TIMEOUT.as_millis(), "a late check is not a death");

/// A model that was asked, and may take long to begin.
type StartingModel<'a> = BoxFuture<'a, Result<OutputStream, ModelError>>;

/// What the pump may use.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many bytes of text may wait for the log before the model is held back.
    pub pending_bytes: usize,
    /// When the generation has run long enough.
    pub deadline: Instant,
    /// How long the model may say nothing before it counts as broken.
    pub stall_time: Duration,
}

/// Why the model will say no more.
#[derive(Debug)]
pub enum AttemptEnd {
    /// It was done.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// What it cost.
        usage: Usage,
    },
    /// It failed.
    Failed(ModelError),
    /// The generation was told to stop.
    Cancelled(CancelCause),
    /// The deadline passed.
    TimedOut,
}

/// How an attempt ended, and how far the answer has come.
#[derive(Debug)]
pub struct PumpOutcome {
    /// Why the model will say no more.
    pub end: AttemptEnd,
    /// How much of the answer is in the log and counts, in bytes, as [`crate::token_log::Prefix::size`] counts them.
    pub kept: u64,
}

/// When readers learn that the attempt has begun.
#[derive(Debug)]
pub enum StartedEvent {
    /// Before the model has said anything.
    AtOnce(Event),
    /// With the first delta that the model says. An attempt without a delta leaves no entry.
    WithFirstDelta(Event),
}

/// How far the answer has come.
#[derive(Debug)]
pub struct Progress {
    kept: u64,
    further_than: u64,
    /// Dropped as soon as the attempt has got further than that.
    unproven: Option<Unproven>,
}

impl Progress {
    /// An attempt that begins with so much of the answer, and has shown that it is harmless when there is more than that.
    pub(crate) fn new(kept: u64, further_than: u64, unproven: Unproven) -> Self {
        Self { kept, further_than, unproven: Some(unproven) }
    }

    /// This batch is in the log.
    fn appended(&mut self, batch: &[Event]) {
        self.kept += batch.iter().map(Event::content_bytes).sum::<u64>();
        if self.kept > self.further_than {
            self.unproven = None;
        }
    }
}

/// Appends that the attempt has begun, as `opening` says, and then everything that a model says, from the moment it is
/// asked, until there is an ending. Everything that it said by then is in the log when this returns. The model is dropped,
/// and so stopped, as soon as the ending is known.
///
/// # Errors
/// [`LogError::Fenced`], [`LogError::Sealed`] or [`LogError::NotFound`] as soon as the log is asked: the stream is not ours
/// any more. [`LogError::Unavailable`] only when the log stayed away until the deadline.
///
/// If the future is dropped, the stream holds a prefix of what the model said.
pub async fn pump(
    writer: &mut dyn LogWriter,
    opening: StartedEvent,
    asked: StartingModel<'_>,
    bounds: Bounds,
    mut progress: Progress,
) -> Result<PumpOutcome, LogError> {
    let cancellation = writer.cancellation().clone();
    let now = Instant::now();
    let (pending, opening) = match opening {
        StartedEvent::AtOnce(started) => (vec![started], None),
        StartedEvent::WithFirstDelta(started) => (Vec::new(), Some(started)),
    };
    let mut batcher = Batcher {
        model: Source::Starting(asked),
        opening,
        pending,
        pending_bytes: 0,
        bounds,
        ending: None,
        check_due: false,
        last_write_at: now,
        last_output_at: now,
        waiting_since: Some(now),
        cancelled: pin!(cancellation.cancelled()),
        alarm: pin!(sleep_until(bounds.deadline.min(now + CHECK_EVERY))),
    };
    loop {
        let batch = batcher.take_pending();
        batcher.gather_while(pin!(submit(writer, &batch, bounds.deadline))).await?;
        while batcher.is_idle() {
            batcher.step().await;
        }
        batcher.gather_while(pin!(settle(writer, &batch, bounds.deadline))).await?;
        metrics::deltas(&batch);
        progress.appended(&batch);
        if batcher.pending.is_empty()
            && let Some(ending) = batcher.ending.take()
        {
            return Ok(PumpOutcome { end: ending, kept: progress.kept });
        }
    }
}

/// Submits one batch, or appends it, however often that takes. An empty one asks for fence and audience.
async fn submit(writer: &mut dyn LogWriter, batch: &[Event], deadline: Instant) -> Result<(), LogError> {
    match writer.submit(batch).await {
        Err(LogError::Unavailable(cause)) => append(writer, batch, deadline, cause).await,
        known => known,
    }
}

/// Waits until a batch that was submitted is in the log.
async fn settle(writer: &mut dyn LogWriter, batch: &[Event], deadline: Instant) -> Result<(), LogError> {
    match writer.settle().await {
        Err(LogError::Unavailable(cause)) => append(writer, batch, deadline, cause).await,
        known => known.map(drop),
    }
}

/// Appends a batch of unknown fate until the log is there: it promises that the batch will be in the stream once. Boxed,
/// because most generations never need it.
fn append<'a>(
    writer: &'a mut dyn LogWriter,
    batch: &'a [Event],
    deadline: Instant,
    mut cause: BoxError,
) -> BoxFuture<'a, Result<(), LogError>> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    async move {
        while Instant::now() < deadline {
            tracing::warn!(%cause, "the token log is unavailable; holding the generation");
            sleep(backoff.advance()).await;
            match writer.append(batch).await {
                Err(LogError::Unavailable(again)) => cause = again,
                known => return known.map(drop),
            }
        }
        Err(LogError::Unavailable(cause))
    }
    .boxed()
}

/// The model's side of the pump: what it said and is not yet in the log, and why it stopped.
struct Batcher<'a> {
    model: Source<'a>,
    /// The entry to append before the first delta.
    opening: Option<Event>,
    pending: Vec<Event>,
    pending_bytes: usize,
    bounds: Bounds,
    ending: Option<AttemptEnd>,
    /// It is time to ask the log for fence and audience.
    check_due: bool,
    /// When the log was last told or asked anything.
    last_write_at: Instant,
    last_output_at: Instant,
    /// None once there was a delta.
    waiting_since: Option<Instant>,
    /// Both are kept over all steps, so that a delta costs no registration.
    cancelled: Pin<&'a mut (dyn Future<Output = CancelCause> + Send)>,
    /// Rings when it is time to check, and at the deadline.
    alarm: Pin<&'a mut Sleep>,
}

/// Where the deltas come from.
enum Source<'a> {
    Starting(StartingModel<'a>),
    Streaming(OutputStream),
    Done,
}

impl Batcher<'_> {
    /// Whether another step can change anything.
    fn is_open(&self) -> bool {
        self.ending.is_none()
    }

    /// Whether there is nothing to do for the log.
    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.is_open() && !self.check_due
    }

    fn take_pending(&mut self) -> Vec<Event> {
        if !self.pending.is_empty() {
            // A model that was held back was not silent.
            self.note_output();
        }
        self.pending_bytes = 0;
        self.check_due = false;
        self.last_write_at = Instant::now();
        std::mem::take(&mut self.pending)
    }

    /// Runs something to its end, and listens to the model meanwhile.
    async fn gather_while<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> T {
        loop {
            // The work is polled to its end; a step may be dropped at any time.
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.step(), if self.is_open() => {}
            }
        }
    }

    /// Waits for one thing to happen: a delta (while there is room for it), the time of a check, or an ending. May be dropped
    /// and called again.
    async fn step(&mut self) {
        let room = self.pending_bytes < self.bounds.pending_bytes;
        let ending = tokio::select! {
            biased;
            cause = &mut self.cancelled => AttemptEnd::Cancelled(cause),
            () = &mut self.alarm => {
                if Instant::now() < self.bounds.deadline {
                    return self.check();
                }
                AttemptEnd::TimedOut
            }
            output = self.model.next(), if room => match output {
                Some(Ok(Output::Text { text, tokens })) => return self.gather(Event::Delta { text, tokens }),
                Some(Ok(Output::Reasoning { text })) => return self.gather(Event::Reasoning { text }),
                Some(Ok(Output::ToolCall(delta))) => return self.gather(Event::ToolCall(delta)),
                Some(Ok(Output::Working)) => return self.note_output(),
                Some(Ok(Output::Finished { reason, usage })) => AttemptEnd::Finished { reason, usage },
                Some(Err(error)) => AttemptEnd::Failed(error),
                None => AttemptEnd::Failed(ModelError::Unavailable("it stopped before the end of its answer".into())),
            },
        };
        self.end(ending);
    }

    fn gather(&mut self, delta: Event) {
        if let Some(began) = self.waiting_since.take() {
            metrics::first_delta(began);
        }
        self.note_output();
        self.pending_bytes += delta.size();
        self.pending.extend(self.opening.take());
        self.pending.push(delta);
    }

    /// The model is as good as its last sign of life.
    fn note_output(&mut self) {
        self.last_output_at = Instant::now();
    }

    /// Asks the log if it was not told anything for so long, and looks whether the model is silent.
    fn check(&mut self) {
        let now = Instant::now();
        let due = self.last_write_at + CHECK_EVERY;
        self.check_due = due <= now;
        let next = if self.check_due { now + CHECK_EVERY } else { due };
        self.alarm.as_mut().reset(self.bounds.deadline.min(next));
        let stall_time = self.bounds.stall_time;
        if self.pending.is_empty() && self.last_output_at.elapsed() >= stall_time {
            let cause = format!("it said nothing for {stall_time:?}");
            self.end(AttemptEnd::Failed(ModelError::Unavailable(cause.into())));
        }
    }

    fn end(&mut self, ending: AttemptEnd) {
        self.model = Source::Done;
        self.ending = Some(ending);
    }
}

impl Source<'_> {
    async fn next(&mut self) -> Option<Result<Output, ModelError>> {
        loop {
            match self {
                Self::Starting(asked) => match asked.await {
                    Ok(outputs) => *self = Self::Streaming(outputs),
                    Err(error) => return Some(Err(error)),
                },
                Self::Streaming(outputs) => return outputs.next().await,
                Self::Done => return None,
            }
        }
    }
}
