//! A model that does what the test says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use tokenwire_core::{
    FinishReason, GenerateRequest, GenerationId, Model, ToolCallDelta, Usage,
    model::{Continuation, ModelError, Output, OutputStream},
    token_log::Prefix,
};
use tokio::{sync::Notify, time::sleep};

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Say(&'static str),
    Think(&'static str),
    Call(&'static str),
    Work,
    Wait(Duration),
    Busy(Duration),
    Absent,
    Reject,
    Break,
    Panic,
    Hang,
    Finish,
}

/// Runs one script per attempt, the last one for all further attempts.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) continuation: Continuation,
    scripts: Vec<Vec<Step>>,
    asked: Arc<AtomicUsize>,
    pub(crate) running: Arc<AtomicUsize>,
}

impl Script {
    pub(crate) fn new(scripts: impl IntoIterator<Item = Vec<Step>>) -> Self {
        Self {
            continuation: Continuation::Resampled,
            scripts: scripts.into_iter().collect(),
            asked: Arc::default(),
            running: Arc::default(),
        }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A model that dies with its process when it is asked for one generation, and answers all others.
#[derive(Clone, Debug)]
pub(crate) struct Deadly {
    poison: GenerationId,
    deaths: Arc<AtomicUsize>,
    died: Arc<Notify>,
}

impl Deadly {
    pub(crate) fn new(poison: GenerationId, deaths: Arc<AtomicUsize>) -> Self {
        Self { poison, deaths, died: Arc::default() }
    }

    /// Waits until it has died: the test then kills the process.
    pub(crate) async fn died(&self) {
        self.died.notified().await;
    }
}

#[async_trait]
impl Model for Deadly {
    fn continuation(&self, _so_far: &Prefix) -> Continuation {
        Continuation::Exact
    }

    async fn generate(
        &self,
        id: GenerationId,
        _request: &GenerateRequest,
        _so_far: &Prefix,
    ) -> Result<OutputStream, ModelError> {
        if id == self.poison {
            self.deaths.fetch_add(1, Ordering::SeqCst);
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        // Slower than the poison.
        sleep(Duration::from_secs(1)).await;
        let text = Output::Text { text: "fine".to_owned(), tokens: Vec::new() };
        let finished = Output::Finished { reason: FinishReason::Stop, usage: Usage::default() };
        Ok(stream::iter([Ok(text), Ok(finished)]).boxed())
    }
}

/// A piece of a tool call.
pub(crate) fn call(arguments: &str) -> ToolCallDelta {
    ToolCallDelta { index: 0, id: None, name: Some("look_up".to_owned()), arguments: arguments.to_owned() }
}

/// Counts the streams that are alive.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Model for Script {
    fn continuation(&self, _so_far: &Prefix) -> Continuation {
        self.continuation
    }

    async fn generate(
        &self,
        _id: GenerationId,
        _request: &GenerateRequest,
        _so_far: &Prefix,
    ) -> Result<OutputStream, ModelError> {
        let attempt = self.asked.fetch_add(1, Ordering::SeqCst);
        let steps = self.scripts[attempt.min(self.scripts.len() - 1)].clone();
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(Arc::clone(&self.running));
        let outputs = stream::iter(steps).filter_map(move |step| {
            let _ = &running;
            async move {
                match step {
                    Step::Say(text) => Some(Ok(Output::Text { text: text.to_owned(), tokens: Vec::new() })),
                    Step::Think(text) => Some(Ok(Output::Reasoning { text: text.to_owned() })),
                    Step::Call(arguments) => Some(Ok(Output::ToolCall(call(arguments)))),
                    Step::Work => Some(Ok(Output::Working)),
                    Step::Wait(time) => {
                        sleep(time).await;
                        None
                    }
                    Step::Busy(retry_after) => Some(Err(ModelError::Busy { retry_after })),
                    Step::Absent => Some(Err(ModelError::Absent {
                        retry_after: Duration::ZERO,
                        cause: "connection refused".into(),
                    })),
                    Step::Reject => Some(Err(ModelError::Rejected { message: "too long".into() })),
                    Step::Break => Some(Err(ModelError::Unavailable("it broke".into()))),
                    Step::Panic => panic!("the model panicked, as the test told it"),
                    Step::Hang => std::future::pending().await,
                    Step::Finish => {
                        Some(Ok(Output::Finished { reason: FinishReason::Stop, usage: Usage::default() }))
                    }
                }
            }
        });
        Ok(outputs.boxed())
    }
}
