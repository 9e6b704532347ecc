//! A log that is away or slow, or has lost its streams for its readers, when the test says so.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use testkit::wrapped::{Log, LogCall, LogHooks, Writer, WriterHooks};
use tokenwire_core::{
    Event, GenerationId, LogError, LogWriter, Seq, TokenLog,
    token_log::{Attempts, Ownership, Page, Wakeups},
};

#[derive(Clone, Debug)]
pub(crate) struct Outage {
    log: Arc<dyn TokenLog>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    down: AtomicBool,
    /// How many entries of every stream are left to be read.
    left: AtomicU64,
    /// What readers wait for each answer, in milliseconds.
    slow_by: AtomicU64,
    /// How often a writer has asked without appending.
    asked: AtomicU64,
    /// It gives no wake-ups.
    without_wake_ups: AtomicBool,
    /// What the streams hold cannot be read.
    damaged: AtomicBool,
    /// What writers wait for each append, in milliseconds.
    slow_to_append: AtomicU64,
    /// How many notes are taken, and not answered.
    unanswered: AtomicU64,
}

impl Outage {
    pub(crate) fn new(log: Arc<dyn TokenLog>) -> Log<Self> {
        let state = State {
            down: AtomicBool::new(false),
            left: AtomicU64::new(u64::MAX),
            slow_by: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            without_wake_ups: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
            slow_to_append: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
        };
        Log(Self { log, state: Arc::new(state) })
    }

    /// From now on readers find this many entries of every stream; of none at all, they find no stream.
    pub(crate) fn lose(&self, all_but: u64) {
        self.state.left.store(all_but, Ordering::SeqCst);
    }

    /// Everything is there again.
    pub(crate) fn find(&self) {
        self.lose(u64::MAX);
    }

    pub(crate) fn asked(&self) -> u64 {
        self.state.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn down(&self) {
        self.state.down.store(true, Ordering::SeqCst);
    }

    pub(crate) fn up(&self) {
        self.state.down.store(false, Ordering::SeqCst);
    }

    /// From now on it gives no wake-ups.
    pub(crate) fn take_wake_ups_away(&self) {
        self.state.without_wake_ups.store(true, Ordering::SeqCst);
    }

    /// From now on writers wait this long for each append.
    pub(crate) fn slow_to_append(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.state.slow_to_append.store(millis, Ordering::SeqCst);
    }

    /// So many notes that a model is about to be asked are taken, and their answers are lost.
    pub(crate) fn lose_answers(&self, notes: u64) {
        self.state.unanswered.store(notes, Ordering::SeqCst);
    }

    /// From now on no stream can be read.
    pub(crate) fn damage(&self) {
        self.state.damaged.store(true, Ordering::SeqCst);
    }

    /// From now on readers wait this long for each answer.
    pub(crate) fn slow(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.state.slow_by.store(millis, Ordering::SeqCst);
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
impl LogHooks for Outage {
    fn log(&self) -> &dyn TokenLog {
        &*self.log
    }

    async fn around<T: Send>(
        &self,
        method: LogCall,
        _: Option<GenerationId>,
        call: BoxFuture<'_, Result<T, LogError>>,
    ) -> Result<T, LogError> {
        let slow_by = self.state.slow_by.load(Ordering::SeqCst);
        if slow_by > 0 && matches!(method, LogCall::Read | LogCall::TouchPresence) {
            tokio::time::sleep(Duration::from_millis(slow_by)).await;
        }
        self.state.check()?;
        call.await
    }

    fn opened(&self, _: GenerationId, writer: Box<dyn LogWriter>) -> Box<dyn LogWriter> {
        let state = Arc::clone(&self.state);
        Box::new(Writer::new(writer, |writer| OutageWriter { writer, state, is_appending: false }))
    }

    async fn read(&self, id: GenerationId, after: Seq, limit: NonZeroUsize) -> Result<Page, LogError> {
        if self.state.damaged.load(Ordering::SeqCst) {
            return Err(LogError::damaged("the test damaged it"));
        }
        let mut page = self.log.read(id, after, limit).await?;
        let left = Seq::new(self.state.left.load(Ordering::SeqCst));
        if left == Seq::START {
            return Err(LogError::NotFound(id));
        }
        page.entries.retain(|entry| entry.seq <= left);
        page.last_seq = page.last_seq.min(left);
        Ok(page)
    }

    async fn wakeups(&self, id: GenerationId) -> Result<Wakeups, LogError> {
        if self.state.without_wake_ups.load(Ordering::SeqCst) {
            return Err(LogError::unavailable("the test took its wake-ups away"));
        }
        self.log.wakeups(id).await
    }

    fn may_have_lost(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct OutageWriter {
    writer: Box<dyn LogWriter>,
    state: Arc<State>,
    /// Also after an append was dropped.
    is_appending: bool,
}

#[async_trait]
impl WriterHooks for OutageWriter {
    async fn record_attempts(&mut self, attempts: Attempts, ownership: Ownership) -> Result<(), LogError> {
        self.state.check()?;
        self.writer.record_attempts(attempts, ownership).await?;
        if ownership == Ownership::Released {
            return Ok(());
        }
        let unanswered = &self.state.unanswered;
        match unanswered.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(LogError::unavailable("the test lost the answer")),
            Err(_) => Ok(()),
        }
    }

    async fn append(&mut self, batch: &[Event]) -> Result<Seq, LogError> {
        self.state.asked.fetch_add(u64::from(batch.is_empty()), Ordering::SeqCst);
        self.is_appending = true;
        let slow_by = self.state.slow_to_append.load(Ordering::SeqCst);
        if slow_by > 0 {
            tokio::time::sleep(Duration::from_millis(slow_by)).await;
        }
        self.is_appending = false;
        self.state.check()?;
        self.writer.append(batch).await
    }

    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError> {
        if self.is_appending {
            // Writes are numbered, and it takes this one for the append that it has done.
            return Ok(Seq::START);
        }
        self.state.check()?;
        self.writer.seal(last).await
    }
}
