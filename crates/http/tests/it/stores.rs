//! Logs and queues that do as the test says.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use token_log::memory::MemoryLog;
use tokenwire_core::{
    GenerationId, Job, JobQueue, Lease, LogError, LogWriter, QueueError, Seq, SystemClock, TokenLog,
    token_log::{Created, JobClaim, Page, StreamSpec, Tail},
};
use tokio::sync::watch;

pub(crate) fn memory() -> Arc<dyn TokenLog> {
    Arc::new(MemoryLog::new(Arc::new(SystemClock), Duration::from_secs(3600)))
}

/// A log in memory that can be taken away and given back.
#[derive(Debug)]
pub(crate) struct Plug {
    log: Arc<dyn TokenLog>,
    pulled: AtomicBool,
}

impl Plug {
    pub(crate) fn connected() -> Arc<Self> {
        Arc::new(Self { log: memory(), pulled: AtomicBool::new(false) })
    }

    pub(crate) fn pulled() -> Arc<Self> {
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

    fn log(&self) -> Result<&dyn TokenLog, LogError> {
        if self.pulled.load(Ordering::SeqCst) {
            Err(LogError::unavailable("unplugged"))
        } else {
            Ok(&*self.log)
        }
    }
}

#[async_trait]
impl TokenLog for Plug {
    async fn create(&self, id: GenerationId, spec: &StreamSpec) -> Result<Created, LogError> {
        self.log()?.create(id, spec).await
    }
    async fn open_writer(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        self.log()?.open_writer(id).await
    }
    async fn take_over(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        self.log()?.take_over(id).await
    }
    async fn read(&self, id: GenerationId, after: Seq, limit: NonZeroUsize) -> Result<Page, LogError> {
        self.log()?.read(id, after, limit).await
    }
    async fn spec(&self, id: GenerationId) -> Result<StreamSpec, LogError> {
        self.log()?.spec(id).await
    }
    async fn tail(&self, id: GenerationId) -> Result<Tail, LogError> {
        self.log()?.tail(id).await
    }
    async fn cancel(&self, id: GenerationId) -> Result<(), LogError> {
        self.log()?.cancel(id).await
    }
    async fn attend(&self, id: GenerationId) -> Result<(), LogError> {
        self.log()?.attend(id).await
    }
    async fn remove(&self, id: GenerationId) -> Result<(), LogError> {
        self.log()?.remove(id).await
    }
    async fn claim_job(&self, id: GenerationId) -> Result<JobClaim, LogError> {
        self.log()?.claim_job(id).await
    }

    async fn job_stored(&self, id: GenerationId) -> Result<(), LogError> {
        self.log()?.job_stored(id).await
    }

    async fn ready(&self) -> Result<(), LogError> {
        self.log()?.ready().await
    }
}

/// A queue that no worker attends: the tests write the streams themselves. It tells which job came last.
#[derive(Debug, Default)]
pub(crate) struct Unattended {
    pub(crate) last: watch::Sender<Option<Job>>,
}

#[async_trait]
impl JobQueue for Unattended {
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        self.last.send_replace(Some(job.clone()));
        Ok(())
    }
    fn waiting(&self) -> usize {
        0
    }
    async fn lease(&self) -> Result<Lease, QueueError> {
        std::future::pending().await
    }
    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        std::future::pending().await
    }
    async fn ready(&self) -> Result<(), QueueError> {
        Ok(())
    }
}

/// A queue that cannot be reached.
#[derive(Debug)]
pub(crate) struct Down;

#[async_trait]
impl JobQueue for Down {
    async fn enqueue(&self, _: &Job) -> Result<(), QueueError> {
        Err(QueueError::unavailable("unplugged"))
    }
    fn waiting(&self) -> usize {
        0
    }
    async fn lease(&self) -> Result<Lease, QueueError> {
        Err(QueueError::unavailable("unplugged"))
    }
    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        Err(QueueError::unavailable("unplugged"))
    }
    async fn ready(&self) -> Result<(), QueueError> {
        Err(QueueError::unavailable("unplugged"))
    }
}
