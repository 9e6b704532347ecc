//! Moves the output of a model into the log.
//!
//! One append is in flight, and output that arrives meanwhile joins the next batch. So the first delta of an idle stream goes at
//! once, and batches grow under load. When the log is slow or unavailable, output is buffered up to a bound in bytes, then the
//! model is not polled. The outcome of an append is read when there is more to append, so durability alone causes no wake-up.
//!
//! Not here: opening and sealing the stream, and what the end means for the job. See [`crate::worker`].

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

/// How often a generation without output makes an empty append. It checks the fence and the readers, and shows that the
/// worker lives.
pub(crate) const CHECK_EVERY: Duration = Duration::from_millis(500);
const _: () =
    assert!(CHECK_EVERY.as_millis() * 3 <= WRITER_TIMEOUT.as_millis(), "a late check is not a death");

/// A model that was asked and has not started to stream.
type StartingModel<'a> = BoxFuture<'a, Result<OutputStream, ModelError>>;

/// The limits of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many bytes of output are buffered. Then the model is not polled.
    pub pending_bytes: usize,
    /// When the running time of the generation is over.
    pub deadline: Instant,
    /// How long the model may send nothing before it counts as failed.
    pub stall_time: Duration,
}

/// Why an attempt ended.
#[derive(Debug)]
pub enum AttemptEnd {
    /// The model finished.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// What it cost.
        usage: Usage,
    },
    /// The model failed.
    Failed(ModelError),
    /// The generation was told to stop.
    Cancelled(CancelCause),
    /// The deadline passed.
    TimedOut,
}

/// The result of [`pump`].
#[derive(Debug)]
pub struct PumpOutcome {
    /// Why an attempt ended.
    pub end: AttemptEnd,
    /// The size of the answer in the log, in bytes as [`crate::token_log::Prefix::size`] counts them.
    pub kept: u64,
}

/// When the `started` event is appended.
#[derive(Debug)]
pub enum StartedEvent {
    /// At once, before any output.
    AtOnce(Event),
    /// With the first delta. An attempt without a delta leaves no entry.
    WithFirstDelta(Event),
}

/// The size of the answer during an attempt.
#[derive(Debug)]
pub struct Progress {
    kept: u64,
    further_than: u64,
    /// Dropped when the answer exceeds `further_than`.
    unproven: Option<Unproven>,
}

impl Progress {
    /// Starts at `kept` bytes. `unproven` is dropped when the answer exceeds `further_than` bytes.
    pub(crate) fn new(kept: u64, further_than: u64, unproven: Unproven) -> Self {
        Self { kept, further_than, unproven: Some(unproven) }
    }

    /// Counts a batch that is in the log.
    fn appended(&mut self, batch: &[Event]) {
        self.kept += batch.iter().map(Event::content_bytes).sum::<u64>();
        if self.kept > self.further_than {
            self.unproven = None;
        }
    }
}

/// Appends the `started` event and the output of a model until the attempt ends. All output until then is in the log when this
/// returns. The model is dropped, and so stopped, as soon as the end is known.
///
/// # Errors
/// [`LogError::Fenced`], [`LogError::Sealed`] or [`LogError::NotFound`]: another attempt owns the stream, or it is gone.
/// [`LogError::Unavailable`]: the log was unavailable until the deadline.
///
/// If the future is dropped, the stream has a prefix of the output.
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

/// Submits one batch. Retries as an append while the log is unavailable. An empty batch checks the fence and the readers.
async fn submit(writer: &mut dyn LogWriter, batch: &[Event], deadline: Instant) -> Result<(), LogError> {
    match writer.submit(batch).await {
        Err(LogError::Unavailable(cause)) => append(writer, batch, deadline, cause).await,
        known => known,
    }
}

/// Waits until a submitted batch is in the log.
async fn settle(writer: &mut dyn LogWriter, batch: &[Event], deadline: Instant) -> Result<(), LogError> {
    match writer.settle().await {
        Err(LogError::Unavailable(cause)) => append(writer, batch, deadline, cause).await,
        known => known.map(drop),
    }
}

/// Appends a batch of unknown outcome until the log answers. The stream then has it once. Boxed, because it is rare.
fn append<'a>(
    writer: &'a mut dyn LogWriter,
    batch: &'a [Event],
    deadline: Instant,
    mut cause: BoxError,
) -> BoxFuture<'a, Result<(), LogError>> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    async move {
        while Instant::now() < deadline {
            tracing::warn!(%cause, "the token log is unavailable; buffering the output");
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

/// Polls the model and collects its output into batches.
struct Batcher<'a> {
    model: Source<'a>,
    /// The `started` event to append before the first delta.
    opening: Option<Event>,
    pending: Vec<Event>,
    pending_bytes: usize,
    bounds: Bounds,
    ending: Option<AttemptEnd>,
    /// Whether an empty append is due.
    check_due: bool,
    /// When a batch, also an empty one, was last taken.
    last_write_at: Instant,
    last_output_at: Instant,
    /// `None` after the first delta.
    waiting_since: Option<Instant>,
    /// This and `alarm` are kept over all steps, so that a delta registers no timer.
    cancelled: Pin<&'a mut (dyn Future<Output = CancelCause> + Send)>,
    /// Fires when a check is due, and at the deadline.
    alarm: Pin<&'a mut Sleep>,
}

/// The state of the model.
enum Source<'a> {
    Starting(StartingModel<'a>),
    Streaming(OutputStream),
    Done,
}

impl Batcher<'_> {
    /// Whether the end is not known yet.
    fn is_open(&self) -> bool {
        self.ending.is_none()
    }

    /// Whether there is nothing to append.
    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.is_open() && !self.check_due
    }

    fn take_pending(&mut self) -> Vec<Event> {
        if !self.pending.is_empty() {
            // A model that was not polled was not silent.
            self.note_output();
        }
        self.pending_bytes = 0;
        self.check_due = false;
        self.last_write_at = Instant::now();
        std::mem::take(&mut self.pending)
    }

    /// Runs `work` to its end and polls the model meanwhile.
    async fn gather_while<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> T {
        loop {
            // A step can be dropped at any time.
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.step(), if self.is_open() => {}
            }
        }
    }

    /// Waits for one event: output (while the buffer has room), a due check, or the end. Can be dropped and called again.
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

    /// The stall time starts again.
    fn note_output(&mut self) {
        self.last_output_at = Instant::now();
    }

    /// Makes an empty append due if nothing was written for [`CHECK_EVERY`], and fails a silent model.
    fn check(&mut self) {
        let now = Instant::now();
        let due = self.last_write_at + CHECK_EVERY;
        self.check_due = due <= now;
        let next = if self.check_due { now + CHECK_EVERY } else { due };
        self.alarm.as_mut().reset(self.bounds.deadline.min(next));
        let stall_time = self.bounds.stall_time;
        if self.pending.is_empty() && self.last_output_at.elapsed() >= stall_time {
            let cause = format!("it sent nothing for {stall_time:?}");
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
