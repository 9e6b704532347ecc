//! Everything that one test needs, on memory: log, queue, front door, worker.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use job_queue::memory::MemoryQueue;
use testkit::clock::TokioClock;
use token_log::memory::MemoryLog;
use tokenwire_core::{
    Caller, Catalogue, Clock, Conversation, Entry, Event, GenerateRequest, GenerationId, Generations,
    JobQueue, Model, ModelName, Seq, TokenLog, Worker,
    catalogue::ModelNames,
    generations::{Limits, Submission, Submitted},
    token_log::OnDisconnect,
    worker::Config,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const QUEUE_TIME: Duration = Duration::from_secs(60);
pub(crate) const RUN_TIME: Duration = Duration::from_secs(100);

pub(crate) struct House {
    pub(crate) log: Arc<dyn TokenLog>,
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) generations: Generations,
    pub(crate) soft: CancellationToken,
    pub(crate) hard: CancellationToken,
    workers: JoinSet<()>,
}

impl House {
    pub(crate) fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::default());
        let log = MemoryLog::new(Arc::clone(&clock), Duration::from_secs(3600));
        Self::with_log(Arc::new(log), clock)
    }

    pub(crate) fn with_log(log: Arc<dyn TokenLog>, clock: Arc<dyn Clock>) -> Self {
        Self::with(log, Arc::new(MemoryQueue::default()), clock)
    }

    pub(crate) fn with(log: Arc<dyn TokenLog>, queue: Arc<dyn JobQueue>, clock: Arc<dyn Clock>) -> Self {
        let limits = Limits { queue_time: QUEUE_TIME, run_time: RUN_TIME };
        let names = ModelNames::new(name(), []);
        let generations =
            Generations::new(Arc::clone(&log), Arc::clone(&queue), Arc::clone(&clock), names, limits);
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        Self { log, queue, clock, generations, soft, hard, workers: JoinSet::new() }
    }

    pub(crate) fn worker(&mut self, model: impl Model) {
        self.worker_with(model, Config { run_time: RUN_TIME, ..Config::default() });
    }

    pub(crate) fn worker_with(&mut self, model: impl Model, config: Config) {
        self.worker_of(Catalogue::default().with(name(), Arc::new(model)), config);
    }

    pub(crate) fn worker_of(&mut self, models: Catalogue, config: Config) {
        let (log, queue) = (Arc::clone(&self.log), Arc::clone(&self.queue));
        let worker = Worker::new(log, queue, models, Arc::clone(&self.clock), config);
        let (soft, hard) = (self.soft.clone(), self.hard.clone());
        self.workers.spawn(async move { worker.run(soft, hard).await });
    }

    /// As kill -9 does: nothing is settled, nothing is sealed.
    pub(crate) async fn kill_workers(&mut self) {
        self.workers.shutdown().await;
    }

    pub(crate) async fn drained(&mut self) {
        while let Some(ended) = self.workers.join_next().await {
            ended.unwrap();
        }
    }

    pub(crate) async fn submit(&self, on_disconnect: OnDisconnect) -> GenerationId {
        let id = GenerationId::fresh();
        let submission = Submission {
            id,
            caller: Caller::Anonymous,
            request: request("Hello"),
            on_disconnect,
            metadata: Bytes::new(),
        };
        assert_eq!(self.generations.submit(submission).await.unwrap().how, Submitted::New);
        id
    }

    /// Submits a generation that goes on without readers.
    pub(crate) async fn ask(&self) -> GenerationId {
        self.submit(OnDisconnect::Detached).await
    }

    /// Everything, to the terminal entry.
    pub(crate) async fn follow(&self, id: GenerationId) -> Vec<Entry> {
        let mut follower = self.generations.follow(id, Seq::START).await.unwrap();
        let mut all = Vec::new();
        while let Some(entries) = follower.next().await.unwrap() {
            all.extend(entries.iter().cloned());
        }
        let seqs: Vec<_> = all.iter().map(|entry| entry.seq.get()).collect();
        assert_eq!(seqs, (1..=all.len() as u64).collect::<Vec<_>>(), "I1");
        all
    }

    /// What is in the log now.
    pub(crate) async fn stored(&self, id: GenerationId) -> Vec<Event> {
        let page = self.log.read(id, Seq::START, NonZeroUsize::new(10_000).unwrap()).await.unwrap();
        page.entries.into_iter().map(|entry| entry.event).collect()
    }
}

pub(crate) fn name() -> ModelName {
    ModelName::new("scripted").unwrap()
}

pub(crate) fn request(prompt: &str) -> GenerateRequest {
    GenerateRequest::new(name(), Conversation::of(prompt).unwrap())
}

/// The text that a reader of these entries shows.
pub(crate) fn text<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    let mut prefix = tokenwire_core::token_log::Prefix::default();
    for event in events {
        let at = tokenwire_core::Timestamp::from_millis(0);
        prefix.push(&Entry { seq: Seq::START, at, event: event.clone() });
    }
    prefix.text
}

pub(crate) fn events(entries: &[Entry]) -> impl Iterator<Item = &Event> {
    entries.iter().map(|entry| &entry.event)
}
