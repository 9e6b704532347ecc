//! The log as one process sees it over a bad network.
//!
//! A write is sent, and then it travels by itself: it arrives although its sender was killed, froze, or stopped to wait.
//! Writes are numbered, and the far side does each number once, which is what makes an append of unknown outcome safe to
//! repeat: the contract of [`LogWriter::append`].

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use testkit::wrapped::{LogCall, LogHooks, Writer, WriterHooks};
use tokenwire_core::{
    BoxError, Event, GenerationId, LogError, LogWriter, Seq, TokenLog,
    token_log::{Attempts, Ownership, Wakeups},
};
use tokio::{sync::Mutex, task::JoinHandle, time::sleep};

use crate::{
    Defect,
    injector::{Node, Service},
    record::Record,
    wake_ups::garble,
};

#[derive(Debug)]
pub(crate) struct RemoteLog {
    pub(crate) node: Node,
    pub(crate) log: Arc<dyn TokenLog>,
    pub(crate) record: Arc<Record>,
    pub(crate) defect: Option<Defect>,
}

/// What the far side does with a write that comes a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeats {
    /// Answers as the first time.
    Recognized,
    /// Does it again: a planted defect.
    Done,
}

/// Which stream is opened.
#[derive(Clone, Copy, Debug)]
enum Open {
    Whatever,
    Unowned,
}

impl RemoteLog {
    async fn call<T>(
        &self,
        service: Service,
        effect: impl Future<Output = Result<T, LogError>> + Send,
    ) -> Result<T, LogError> {
        self.node.call(service, effect).await.unwrap_or_else(|cause| Err(LogError::Unavailable(cause)))
    }

    fn repeats(&self) -> Repeats {
        if self.defect == Some(Defect::AppendTwice) { Repeats::Done } else { Repeats::Recognized }
    }

    async fn writer(&self, id: GenerationId, how: Open) -> Result<Box<dyn LogWriter>, LogError> {
        let injector = &self.node.injector;
        if injector.is_away(Service::Commits) && injector.rng.happens(0.5) {
            // The attempt has its number, and nothing else of it is stored.
            drop(self.open(id, how).await?);
        }
        let writer = self.call(Service::Commits, self.open(id, how)).await?;
        let (node, repeats) = (self.node.clone(), self.repeats());
        Ok(Box::new(Writer::new(writer, |writer| {
            let far_side = FarSide { writer, done: 0, last: Seq::START, repeats };
            RemoteWriter { node, number: 1, on_the_way: None, far_side: Arc::new(Mutex::new(far_side)) }
        })))
    }

    /// Opens a stream at the far side, which knows then whose attempt it is.
    async fn open(&self, id: GenerationId, how: Open) -> Result<Box<dyn LogWriter>, LogError> {
        let writer = match how {
            Open::Whatever => self.log.open_writer(id).await?,
            Open::Unowned => self.log.take_over(id).await?,
        };
        self.node.life.opens(id, writer.attempt());
        self.record.opened_by(id, writer.attempt(), &self.node.life.name);
        Ok(writer)
    }
}

#[async_trait]
impl LogHooks for RemoteLog {
    fn log(&self) -> &dyn TokenLog {
        &*self.log
    }

    async fn around<T: Send>(
        &self,
        method: LogCall,
        id: Option<GenerationId>,
        call: BoxFuture<'_, Result<T, LogError>>,
    ) -> Result<T, LogError> {
        if self.defect == Some(Defect::AwayAnswers)
            && method == LogCall::Read
            && let Some(id) = id
            && !self.record.facts().streams.contains_key(&id)
        {
            return Err(LogError::NotFound(id));
        }
        match method {
            // These call the node themselves.
            LogCall::OpenWriter | LogCall::TakeOver | LogCall::Wakeups => call.await,
            LogCall::Read | LogCall::Spec | LogCall::Ready => self.call(Service::Log, call).await,
            _ => self.call(Service::Commits, call).await,
        }
    }

    async fn open_writer(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        self.writer(id, Open::Whatever).await
    }

    async fn take_over(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        self.writer(id, Open::Unowned).await
    }

    async fn wakeups(&self, id: GenerationId) -> Result<Wakeups, LogError> {
        let tail = self.call(Service::Log, self.log.wakeups(id)).await?;
        Ok(garble(tail, &self.node))
    }
}

#[derive(Debug)]
struct RemoteWriter {
    node: Node,
    /// Of the write whose answer is not known yet.
    number: u64,
    /// A write that was submitted.
    on_the_way: Option<Travelling>,
    far_side: Arc<Mutex<FarSide>>,
}

type Travelling = JoinHandle<Result<Seq, LogError>>;

#[derive(Clone, Debug)]
enum Write {
    Append(Vec<Event>),
    Seal(Event),
    Attempts(Attempts, Ownership),
}

#[derive(Debug)]
struct FarSide {
    writer: Box<dyn LogWriter>,
    /// The number of the last write that was done, and what it answered.
    done: u64,
    last: Seq,
    repeats: Repeats,
}

impl FarSide {
    async fn write(&mut self, number: u64, write: Write) -> Result<Seq, LogError> {
        if number <= self.done && self.repeats == Repeats::Recognized {
            return match write {
                // Done, but by an owner who may have been deposed since.
                Write::Append(_) => self.writer.append(&[]).await.map(|_| self.last),
                Write::Seal(_) | Write::Attempts(..) => Ok(self.last),
            };
        }
        self.last = match write {
            Write::Append(batch) => self.writer.append(&batch).await?,
            Write::Seal(last) => self.writer.seal(&last).await?,
            Write::Attempts(attempts, ownership) => {
                self.writer.record_attempts(attempts, ownership).await?;
                self.last
            }
        };
        self.done = number;
        Ok(self.last)
    }
}

impl RemoteWriter {
    async fn send(&mut self, write: Write) -> Result<Seq, LogError> {
        let mut travelling = self.set_out(write).await.map_err(LogError::Unavailable)?;
        let answer = self.answer(&mut travelling).await;
        self.heard(answer)
    }

    /// What was asked next is another write, once it is known how this one went.
    fn heard(&mut self, answer: Result<Result<Seq, LogError>, BoxError>) -> Result<Seq, LogError> {
        let answer = answer.unwrap_or_else(|cause| Err(LogError::Unavailable(cause)));
        if !matches!(answer, Err(LogError::Unavailable(_))) {
            self.number += 1;
        }
        answer
    }

    async fn set_out(&self, write: Write) -> Result<Travelling, BoxError> {
        self.node.go_out(Service::Commits).await?;
        let injector = &self.node.injector;
        let on_the_way = injector.hits(|rates| rates.slow).then(|| self.node.long_time());
        let (far_side, number) = (Arc::clone(&self.far_side), self.number);
        Ok(injector.travelling.spawn(async move {
            if let Some(time) = on_the_way {
                sleep(time).await;
            }
            far_side.lock().await.write(number, write).await
        }))
    }

    async fn answer(&self, travelling: &mut Travelling) -> Result<Result<Seq, LogError>, BoxError> {
        if self.node.injector.hits(|rates| rates.unanswered) {
            return Err("timed out on the way".into());
        }
        let answer = travelling.await?;
        self.node.come_back().await?;
        Ok(answer)
    }
}

#[async_trait]
impl WriterHooks for RemoteWriter {
    async fn record_attempts(&mut self, attempts: Attempts, ownership: Ownership) -> Result<(), LogError> {
        // An append that was dropped, and whose fate is not known, has a number: this is another write.
        self.number += 1;
        self.send(Write::Attempts(attempts, ownership)).await.map(drop)
    }

    async fn append(&mut self, batch: &[Event]) -> Result<Seq, LogError> {
        self.send(Write::Append(batch.to_vec())).await
    }

    async fn submit(&mut self, batch: &[Event]) -> Result<Option<Seq>, LogError> {
        let travelling = self.set_out(Write::Append(batch.to_vec())).await;
        self.on_the_way = Some(travelling.map_err(LogError::Unavailable)?);
        Ok(None)
    }

    async fn settle(&mut self) -> Result<Option<Seq>, LogError> {
        let Some(mut travelling) = self.on_the_way.take() else { return Ok(None) };
        let answer = self.answer(&mut travelling).await;
        self.heard(answer).map(Some)
    }

    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError> {
        self.send(Write::Seal(last.clone())).await
    }
}

impl Drop for RemoteWriter {
    /// A log on another machine does not learn that a process has died.
    fn drop(&mut self) {
        if self.node.injector.hits(|rates| rates.unnoticed) {
            self.node.injector.keep_unnoticed(Arc::clone(&self.far_side));
        }
    }
}
