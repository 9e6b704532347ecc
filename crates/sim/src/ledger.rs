//! Writes down what the log and the queue really did. Sits right above the adapters, below all faults: what it saw is
//! what happened, whatever the callers were told.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokenwire_core::{
    Attempt, Event, GenerationId, Job, JobQueue, Lease, LogError, LogWriter, QueueError, Seq, Timestamp,
    TokenLog,
    job_queue::Hold,
    token_log::{Attempts, Cancellation, Created, JobClaim, Ownership, Page, Prefix, StreamSpec, Tail},
};

use crate::record::{Record, Rule};

#[derive(Debug)]
pub(crate) struct LedgerLog {
    pub(crate) log: Arc<dyn TokenLog>,
    pub(crate) record: Arc<Record>,
}

#[async_trait]
impl TokenLog for LedgerLog {
    async fn create(&self, id: GenerationId, spec: &StreamSpec) -> Result<Created, LogError> {
        let created = self.log.create(id, spec).await?;
        self.record.stream(id, format_args!("created: {created:?}"), |stream, now| {
            if created == Created::New {
                stream.begin(spec.on_disconnect, now);
            }
        });
        Ok(created)
    }

    async fn open_writer(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        let writer = self.log.open_writer(id).await?;
        let attempt = writer.attempt();
        let before = self.record.stream(id, format_args!("opened by attempt {attempt}"), |stream, now| {
            let before = stream.opens.last().copied();
            stream.opens.push(attempt);
            stream.used(now);
            before
        });
        if before.is_some_and(|before| before >= attempt) {
            self.record.violation_of(id, Rule::I4, format_args!("was opened as attempt {attempt} again"));
        }
        Ok(Box::new(LedgerWriter { id, writer, record: Arc::clone(&self.record) }))
    }

    async fn read(&self, id: GenerationId, after: Seq, limit: NonZeroUsize) -> Result<Page, LogError> {
        self.log.read(id, after, limit).await
    }

    async fn spec(&self, id: GenerationId) -> Result<StreamSpec, LogError> {
        self.log.spec(id).await
    }

    async fn tail(&self, id: GenerationId) -> Result<Tail, LogError> {
        self.log.tail(id).await
    }

    async fn cancel(&self, id: GenerationId) -> Result<(), LogError> {
        self.log.cancel(id).await?;
        self.record.stream(id, "cancelled", |stream, now| {
            // What has ended cannot be stopped.
            if stream.sealed.is_none() {
                stream.cancelled.get_or_insert(now);
            }
        });
        Ok(())
    }

    async fn attend(&self, id: GenerationId) -> Result<(), LogError> {
        self.log.attend(id).await?;
        self.record.stream(id, "attended", |stream, now| stream.attended = now);
        Ok(())
    }

    async fn remove(&self, id: GenerationId) -> Result<(), LogError> {
        self.log.remove(id).await?;
        let was_accepted = self.record.stream(id, "removed", |stream, _| {
            stream.exists = false;
            stream.accepted
        });
        if was_accepted {
            self.record.violation_of(id, Rule::I9, "was removed after somebody was told that it is accepted");
        }
        Ok(())
    }

    async fn claim_job(&self, id: GenerationId) -> Result<JobClaim, LogError> {
        self.log.claim_job(id).await
    }

    async fn job_stored(&self, id: GenerationId) -> Result<(), LogError> {
        self.log.job_stored(id).await
    }

    async fn ready(&self) -> Result<(), LogError> {
        self.log.ready().await
    }
}

#[derive(Debug)]
struct LedgerWriter {
    id: GenerationId,
    writer: Box<dyn LogWriter>,
    record: Arc<Record>,
}

impl LedgerWriter {
    fn appended(&self, events: &[Event], last: Seq) {
        let attempt = self.writer.attempt();
        let has_text = events.iter().any(|event| matches!(event, Event::Delta { .. }));
        let line = format!("appended {events:?} by attempt {attempt}, to {last}");
        let (is_next, was_sealed, newest) = self.record.stream(self.id, line, |stream, now| {
            let was_sealed = stream.sealed.is_some();
            stream.used(now);
            stream.appends.push((now, has_text));
            let tail = Seq::START.plus(stream.entries.len());
            for event in events {
                stream.entries.push((Seq::START.plus(stream.entries.len() + 1), event.clone()));
                if event.is_terminal() {
                    stream.sealed.get_or_insert(now);
                }
            }
            (tail.plus(events.len()) == last, was_sealed, stream.opens.last().copied())
        });
        if !is_next {
            self.record.violation_of(self.id, Rule::I1, format_args!("has a gap before {last}"));
        }
        if was_sealed {
            self.record.violation_of(self.id, Rule::I1, "was appended to after its seal");
        }
        if newest.is_some_and(|newest| newest > attempt) {
            self.record.violation_of(self.id, Rule::I3, format_args!("took an append of attempt {attempt}"));
        }
    }
}

#[async_trait]
impl LogWriter for LedgerWriter {
    fn attempt(&self) -> Attempt {
        self.writer.attempt()
    }

    fn start_by(&self) -> Timestamp {
        self.writer.start_by()
    }

    fn so_far(&self) -> &Prefix {
        self.writer.so_far()
    }

    fn attempts(&self) -> Attempts {
        self.writer.attempts()
    }

    async fn record_attempts(&mut self, attempts: Attempts, ownership: Ownership) -> Result<(), LogError> {
        self.writer.record_attempts(attempts, ownership).await
    }

    fn cancellation(&self) -> &Cancellation {
        self.writer.cancellation()
    }

    async fn append(&mut self, batch: &[Event]) -> Result<Seq, LogError> {
        let last = self.writer.append(batch).await?;
        self.appended(batch, last);
        Ok(last)
    }

    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError> {
        let seq = self.writer.seal(last).await?;
        self.appended(std::slice::from_ref(last), seq);
        Ok(seq)
    }
}

#[derive(Debug)]
pub(crate) struct LedgerQueue {
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) log: Arc<dyn TokenLog>,
    pub(crate) record: Arc<Record>,
}

impl LedgerQueue {
    fn leased(&self, lease: Lease) -> Lease {
        let id = lease.job().id;
        self.record.stream(id, "leased", |_, _| ());
        let job = lease.job().clone();
        Lease::new(job, Box::new(LedgerHold { id, lease: Some(lease), record: Arc::clone(&self.record) }))
    }
}

#[async_trait]
impl JobQueue for LedgerQueue {
    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        self.queue.enqueue(job).await?;
        let has_stream = self.log.read(job.id, Seq::START, NonZeroUsize::MIN).await.is_ok();
        let should = self.record.stream(job.id, "queued", |stream, _| {
            stream.jobs_stored += 1;
            stream.has_job = true;
            stream.exists
        });
        if should && !has_stream {
            self.record.violation_of(job.id, Rule::I6, "has a job, and no stream yet");
        }
        Ok(())
    }

    fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    async fn lease(&self) -> Result<Lease, QueueError> {
        Ok(self.leased(self.queue.lease().await?))
    }

    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        Ok(self.leased(self.queue.dead_letter().await?))
    }

    async fn ready(&self) -> Result<(), QueueError> {
        self.queue.ready().await
    }
}

#[derive(Debug)]
struct LedgerHold {
    id: GenerationId,
    lease: Option<Lease>,
    record: Arc<Record>,
}

#[async_trait]
impl Hold for LedgerHold {
    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        let Some(lease) = self.lease.take() else { return Ok(()) };
        lease.ack().await?;
        let is_lost = self.record.stream(self.id, "acknowledged", |stream, _| {
            stream.jobs_acked += 1;
            let none_left = stream.has_job && stream.jobs_acked == stream.jobs_stored;
            none_left && stream.exists && stream.sealed.is_none()
        });
        if is_lost {
            self.record.violation_of(self.id, Rule::I5, "has no job any more, and is not sealed");
        }
        Ok(())
    }

    async fn retry(mut self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        let Some(lease) = self.lease.take() else { return Ok(()) };
        self.record.stream(self.id, format_args!("given back for {after:?}"), |_, _| ());
        lease.retry(after).await
    }
}

impl Drop for LedgerHold {
    fn drop(&mut self) {
        if self.lease.is_some() {
            self.record.stream(self.id, "lease dropped", |_, _| ());
        }
    }
}
