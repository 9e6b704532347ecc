//! Logs and queues that do as the test says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use testkit::wrapped::{Log, LogCall, LogHooks, Queue, QueueHooks};
use token_log::memory::MemoryLog;
use tokenwire_core::{GenerationId, Job, LogError, QueueError, SystemClock, TokenLog};
use tokio::sync::watch;

pub(crate) fn memory() -> Arc<dyn TokenLog> {
    Arc::new(MemoryLog::new(Arc::new(SystemClock), Duration::from_secs(3600)))
}

/// A log in memory that can be disconnected and connected again.
#[derive(Debug)]
pub(crate) struct Plug {
    log: Arc<dyn TokenLog>,
    pulled: AtomicBool,
}

impl Plug {
    pub(crate) fn connected() -> Arc<Log<Self>> {
        Arc::new(Log(Self { log: memory(), pulled: AtomicBool::new(false) }))
    }

    pub(crate) fn pulled() -> Arc<Log<Self>> {
        let plug = Self::connected();
        plug.pull();
        plug
    }

    pub(crate) fn pull(&self) {
        self.pulled.store(true, Ordering::SeqCst);
    }

    pub(crate) fn connect(&self) {
        self.pulled.store(false, Ordering::SeqCst);
    }
}

#[async_trait]
impl LogHooks for Plug {
    fn log(&self) -> &dyn TokenLog {
        &*self.log
    }

    async fn around<T: Send>(
        &self,
        _: LogCall,
        _: Option<GenerationId>,
        call: BoxFuture<'_, Result<T, LogError>>,
    ) -> Result<T, LogError> {
        if self.pulled.load(Ordering::SeqCst) {
            return Err(LogError::unavailable("unplugged"));
        }
        call.await
    }
}

/// A queue without workers: the tests write the streams. `last` is the job that was stored last.
pub(crate) type Unattended = Queue<LastJob>;

#[derive(Debug, Default)]
pub(crate) struct LastJob {
    pub(crate) last: watch::Sender<Option<Job>>,
}

#[async_trait]
impl QueueHooks for LastJob {
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        self.last.send_replace(Some(job.clone()));
        Ok(())
    }
}

/// A queue that cannot be reached.
#[derive(Debug)]
pub(crate) struct Down;

#[async_trait]
impl QueueHooks for Down {
    async fn enqueue(&self, _: &Job) -> Result<(), QueueError> {
        Err(QueueError::unavailable("unplugged"))
    }

    async fn ready(&self) -> Result<(), QueueError> {
        Err(QueueError::unavailable("unplugged"))
    }
}
