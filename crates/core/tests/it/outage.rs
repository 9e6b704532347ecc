//! A log that is away when the test says so.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use tokenwire_core::{
    Attempt, Event, GenerationId, LogError, LogWriter, Seq, TokenLog,
    token_log::{Cancellation, Created, Page, Prefix, StreamSpec, Tail},
};

#[derive(Clone, Debug)]
pub(crate) struct Outage {
    log: Arc<dyn TokenLog>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    down: AtomicBool,
}

impl Outage {
    pub(crate) fn new(log: Arc<dyn TokenLog>) -> Self {
        Self { log, state: Arc::default() }
    }

    pub(crate) fn down(&self) {
        self.state.down.store(true, Ordering::SeqCst);
    }

    pub(crate) fn up(&self) {
        self.state.down.store(false, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), LogError> {
        self.state.check()
    }
}

impl State {
    fn check(&self) -> Result<(), LogError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(LogError::unavailable("the test took it away"));
        }
        Ok(())
    }
}

#[async_trait]
impl TokenLog for Outage {
    async fn create(&self, id: GenerationId, spec: &StreamSpec) -> Result<Created, LogError> {
        self.check()?;
        self.log.create(id, spec).await
    }

    async fn open_writer(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        self.check()?;
        let writer = self.log.open_writer(id).await?;
        Ok(Box::new(OutageWriter { writer, state: Arc::clone(&self.state) }))
    }

    async fn read(&self, id: GenerationId, after: Seq, limit: NonZeroUsize) -> Result<Page, LogError> {
        self.check()?;
        self.log.read(id, after, limit).await
    }

    async fn tail(&self, id: GenerationId) -> Result<Tail, LogError> {
        self.check()?;
        self.log.tail(id).await
    }

    async fn cancel(&self, id: GenerationId) -> Result<(), LogError> {
        self.check()?;
        self.log.cancel(id).await
    }

    async fn attend(&self, id: GenerationId) -> Result<(), LogError> {
        self.check()?;
        self.log.attend(id).await
    }

    async fn remove(&self, id: GenerationId) -> Result<(), LogError> {
        self.check()?;
        self.log.remove(id).await
    }

    async fn ready(&self) -> Result<(), LogError> {
        self.check()
    }
}

#[derive(Debug)]
struct OutageWriter {
    writer: Box<dyn LogWriter>,
    state: Arc<State>,
}

#[async_trait]
impl LogWriter for OutageWriter {
    fn attempt(&self) -> Attempt {
        self.writer.attempt()
    }

    fn so_far(&self) -> &Prefix {
        self.writer.so_far()
    }

    fn cancellation(&self) -> &Cancellation {
        self.writer.cancellation()
    }

    async fn append(&mut self, batch: &[Event]) -> Result<Seq, LogError> {
        self.state.check()?;
        self.writer.append(batch).await
    }

    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError> {
        self.state.check()?;
        self.writer.seal(last).await
    }
}
