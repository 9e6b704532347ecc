//! Moves what a model says into the log.
//!
//! Batching is natural, not timed: one append is in flight, and what the model says meanwhile joins the next one. The
//! first piece of an idle stream goes at once; under load the batches grow by themselves. When the log falls behind or
//! goes away, pieces gather up to a bound in bytes, and then the model is not asked for more.
//!
//! Opening and sealing the stream, and what an ending means for the job, are the worker's.

use std::time::Duration;

use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until};

use crate::{
    event::{CancelCause, Event, FinishReason, Usage},
    metrics,
    model::{ModelError, Output},
    retry::Backoff,
    token_log::{LogError, LogWriter, OWNERSHIP},
};

/// How often a silent generation asks the log whether it still owns its stream and whether anybody wants it, and so says
/// that it lives.
const CHECK_EVERY: Duration = Duration::from_millis(500);
const _: () = assert!(CHECK_EVERY.as_millis() * 3 <= OWNERSHIP.as_millis(), "a late check is not a death");

/// What a model says, from the moment it is asked: the asking itself may be its first step.
type Outputs<'a> = BoxStream<'a, Result<Output, ModelError>>;

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
pub enum Ending {
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

/// Appends `started` and then everything from `outputs`, until there is an ending. Everything that the model said by then
/// is in the log when this returns. The model is dropped, and so stopped, as soon as the ending is known.
///
/// # Errors
/// [`LogError::Fenced`], [`LogError::Sealed`] or [`LogError::NotFound`] at once: the stream is not ours any more.
/// [`LogError::Unavailable`] only when the log stayed away until the deadline.
///
/// If the future is dropped, the stream holds a prefix of what the model said.
pub async fn pump(
    writer: &mut dyn LogWriter,
    started: Event,
    outputs: Outputs<'_>,
    bounds: Bounds,
) -> Result<Ending, LogError> {
    let mut tap = Tap::new(writer, started, outputs, bounds);
    let mut check = checks();
    loop {
        let batch = tap.take_pending();
        {
            let mut append = std::pin::pin!(append(writer, &batch, bounds.deadline));
            loop {
                // The append is polled to its end; a step of the tap may be dropped at any time.
                tokio::select! {
                    biased;
                    appended = &mut append => break appended?,
                    () = tap.step(), if tap.is_open() => {}
                }
            }
        }
        if !batch.is_empty() {
            metrics::deltas(&batch);
            // A model that was held back was not silent.
            tap.heard();
        }
        while tap.pending.is_empty() {
            if let Some(ending) = tap.ending.take() {
                return Ok(ending);
            }
            tokio::select! {
                biased;
                () = tap.step() => {}
                // An empty append asks for fence and audience.
                _ = check.tick() => {
                    tap.look_for_stall(bounds.stall_time);
                    break;
                }
            }
        }
    }
}

fn checks() -> Interval {
    let mut check = interval_at(Instant::now() + CHECK_EVERY, CHECK_EVERY);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    check
}

/// Appends one batch, however often it takes: the log promises that it will be there once.
async fn append(writer: &mut dyn LogWriter, batch: &[Event], deadline: Instant) -> Result<(), LogError> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        match writer.append(batch).await {
            Ok(_) => return Ok(()),
            Err(LogError::Unavailable(cause)) if Instant::now() < deadline => {
                tracing::warn!(%cause, "the token log is unavailable; holding the generation");
                sleep(backoff.advance()).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The model's side of the pump: what it said and is not yet in the log, and why it stopped.
struct Tap<'a> {
    outputs: Option<Outputs<'a>>,
    pending: Vec<Event>,
    pending_bytes: usize,
    bound: usize,
    ending: Option<Ending>,
    heard_at: Instant,
    /// None once there was a piece.
    waiting_since: Option<Instant>,
    /// What ends a generation from outside: a cancellation, the deadline. Kept over all steps, and in a set that looks at
    /// them only when one has something to say, so that a piece costs no timer and no registration.
    interruptions: FuturesUnordered<BoxFuture<'static, Ending>>,
}

impl<'a> Tap<'a> {
    fn new(writer: &dyn LogWriter, started: Event, outputs: Outputs<'a>, bounds: Bounds) -> Self {
        let cancellation = writer.cancellation().clone();
        let cancelled = async move { Ending::Cancelled(cancellation.cancelled().await) };
        let deadline = async move {
            sleep_until(bounds.deadline).await;
            Ending::TimedOut
        };
        Self {
            outputs: Some(outputs),
            pending: vec![started],
            pending_bytes: 0,
            bound: bounds.pending_bytes,
            ending: None,
            heard_at: Instant::now(),
            waiting_since: Some(Instant::now()),
            interruptions: [cancelled.boxed(), deadline.boxed()].into_iter().collect(),
        }
    }

    /// Whether another step can change anything.
    fn is_open(&self) -> bool {
        self.ending.is_none()
    }

    fn take_pending(&mut self) -> Vec<Event> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.pending)
    }

    /// Waits for one thing to happen: a piece (while there is room for it), or an ending. May be dropped and called
    /// again.
    async fn step(&mut self) {
        let room = self.pending_bytes < self.bound;
        let ending = tokio::select! {
            biased;
            Some(ending) = self.interruptions.next() => ending,
            output = next(&mut self.outputs), if room => match output {
                Some(Ok(Output::Text { text, tokens })) => return self.gather(Event::Delta { text, tokens }),
                Some(Ok(Output::Reasoning { text })) => return self.gather(Event::Reasoning { text }),
                Some(Ok(Output::ToolCall(delta))) => return self.gather(Event::ToolCall(delta)),
                Some(Ok(Output::Working)) => return self.heard(),
                Some(Ok(Output::Finished { reason, usage })) => Ending::Finished { reason, usage },
                Some(Err(error)) => Ending::Failed(error),
                None => Ending::Failed(ModelError::Unavailable("it stopped before the end of its answer".into())),
            },
        };
        self.end(ending);
    }

    fn gather(&mut self, piece: Event) {
        if let Some(began) = self.waiting_since.take() {
            metrics::first_delta(began);
        }
        self.heard();
        self.pending_bytes += piece.size();
        self.pending.push(piece);
    }

    /// The model is as good as its last sign of life.
    fn heard(&mut self) {
        self.heard_at = Instant::now();
    }

    fn look_for_stall(&mut self, stall_time: Duration) {
        if self.is_open() && self.heard_at.elapsed() >= stall_time {
            let cause = format!("it said nothing for {stall_time:?}");
            self.end(Ending::Failed(ModelError::Unavailable(cause.into())));
        }
    }

    fn end(&mut self, ending: Ending) {
        self.outputs = None;
        self.ending = Some(ending);
    }
}

async fn next(outputs: &mut Option<Outputs<'_>>) -> Option<Result<Output, ModelError>> {
    match outputs {
        Some(outputs) => outputs.next().await,
        None => None,
    }
}
