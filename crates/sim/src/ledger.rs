//! Records what the log and the queue really did. The ledger is right above the adapters and below all faults, so it is right
//! also where a caller got an error.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
use testkit::{
    clock::TokioClock,
    wrapped::{LogCall, LogHooks, QueueHooks, Writer, WriterHooks},
};
use tokenwire_core::{
    Clock, Event, GenerationId, Job, JobQueue, Lease, LogError, LogWriter, QueueError, Seq, Timestamp,
    TokenLog,
    job_queue::LeaseHandle,
    token_log::{
        Attempts, CLAIM_TIME, Created, JobClaim, Ownership, Page, Phase, STORED_TIME, StreamSpec,
        WRITER_TIMEOUT,
    },
};

use crate::record::{Moment, Opened, Record, Rule};

#[derive(Debug)]
pub(crate) struct LedgerLog {
    pub(crate) log: Arc<dyn TokenLog>,
    pub(crate) truth: TokioClock,
    pub(crate) record: Arc<Record>,
}

impl LedgerLog {
    fn has_moved(&self, id: GenerationId, end_by: Timestamp) -> bool {
        let facts = self.record.facts();
        facts.streams.get(&id).and_then(|stream| stream.end_by).is_some_and(|fixed| fixed != end_by)
    }
}

/// A damaged stream can neither be read nor written.
fn look_for_damage(record: &Record, id: GenerationId) -> Result<(), LogError> {
    let broken = || {
        if record.tells_damage {
            LogError::damaged("written over")
        } else {
            LogError::unavailable("unreadable")
        }
    };
    let is_damaged = record.facts().streams.get(&id).is_some_and(|stream| stream.damaged.is_some());
    if is_damaged { Err(broken()) } else { Ok(()) }
}

#[async_trait]
impl LogHooks for LedgerLog {
    fn log(&self) -> &dyn TokenLog {
        &*self.log
    }

    async fn around<T: Send>(
        &self,
        method: LogCall,
        id: Option<GenerationId>,
        call: BoxFuture<'_, Result<T, LogError>>,
    ) -> Result<T, LogError> {
        use LogCall::{ClaimJob, Create, OpenWriter, Read, Spec, TakeOver};
        let uses_data = matches!(method, Create | OpenWriter | TakeOver | Read | Spec | ClaimJob);
        if let Some(id) = id.filter(|_| uses_data) {
            look_for_damage(&self.record, id)?;
        }
        call.await
    }

    /// Records that a stream was opened.
    fn opened(&self, id: GenerationId, writer: Box<dyn LogWriter>) -> Box<dyn LogWriter> {
        let (attempt, attempts) = (writer.attempt(), writer.attempts());
        let line =
            format!("opened by attempt {attempt}, after {} without progress", attempts.without_progress);
        let before = self.record.stream(id, line, |stream, now| {
            let before = stream.opens.last().copied();
            let is_heard = stream.heard.is_some_and(|heard| now < heard + WRITER_TIMEOUT);
            let is_given_up = std::mem::take(&mut stream.given_up);
            let deposed_owner = is_heard && !is_given_up;
            if let Some(mut last) = stream.attempts.last_entry() {
                last.get_mut().deposed = Some(now);
            }
            stream.opens.push(attempt);
            stream.opened = now;
            let opened = Opened { before: attempts, deposed_owner, ..Opened::default() };
            stream.attempts.insert(attempt, opened);
            stream.used(now);
            before
        });
        if before.is_some_and(|before| before >= attempt) {
            self.record.violation_of(id, Rule::I4, format_args!("was opened as attempt {attempt} again"));
        }
        let record = Arc::clone(&self.record);
        Box::new(Writer::new(writer, |writer| LedgerWriter { id, writer, record }))
    }

    async fn create(&self, id: GenerationId, spec: &StreamSpec) -> Result<Created, LogError> {
        let created = self.log.create(id, spec).await?;
        // It was on its way for a while, and its times count from when it set out.
        let late = self.truth.now().since(spec.created_at);
        self.record.stream(id, format_args!("created: {created:?}"), |stream, now| {
            if created == Created::New {
                stream.begin(spec.on_disconnect, spec.end_by, now);
                stream.created = now.saturating_sub(late);
            }
        });
        Ok(created)
    }

    async fn read(&self, id: GenerationId, after: Seq, limit: NonZeroUsize) -> Result<Page, LogError> {
        let page = self.log.read(id, after, limit).await?;
        if let Phase::Running { end_by, .. } = page.phase
            && self.has_moved(id, end_by)
        {
            self.record.violation_of(id, Rule::I11, format_args!("has to end by {end_by:?} now"));
        }
        Ok(page)
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

    async fn touch_presence(&self, id: GenerationId) -> Result<(), LogError> {
        self.log.touch_presence(id).await?;
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
            self.record.violation_of(id, Rule::I9, "was removed after a client was told that it is accepted");
        }
        Ok(())
    }

    async fn claim_job(&self, id: GenerationId) -> Result<JobClaim, LogError> {
        let claim = self.log.claim_job(id).await?;
        if claim == JobClaim::Granted {
            let is_early = self.record.stream(id, "is to be stored again", |stream, now| {
                let since = |moment: Option<Moment>, time| moment.is_some_and(|moment| now < moment + time);
                let is_early = since(stream.job_claimed, CLAIM_TIME) || since(stream.job_stored, STORED_TIME);
                stream.job_claimed = Some(now);
                is_early
            });
            if is_early {
                self.record.violation_of(id, Rule::Claims, "is to be stored again by two");
            }
        }
        Ok(claim)
    }

    async fn job_stored(&self, id: GenerationId) -> Result<(), LogError> {
        self.log.job_stored(id).await?;
        self.record.stream(id, "has its job again", |stream, now| stream.job_stored = Some(now));
        Ok(())
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

impl LedgerWriter {
    /// What the attempts came to: a refusal and a stop are no attempt (I11).
    fn noted(&self, attempts: Attempts, ownership: Ownership) {
        let attempt = self.writer.attempt();
        let Attempts { without_progress, best, asking, .. } = attempts;
        let line = format!(
            "notes at attempt {attempt}: {without_progress} without progress beyond {best}, asking {asking}, {ownership:?}"
        );
        self.record.stream(self.id, line, |stream, now| {
            stream.used(now);
            if asking {
                stream.started.get_or_insert(stream.opened);
            }
            if ownership == Ownership::Released {
                stream.heard = None;
            }
        });
        let is_released = ownership == Ownership::Released;
        let gives_back = {
            let facts = self.record.facts();
            let opened = facts.streams.get(&self.id).and_then(|stream| stream.attempts.get(&attempt));
            let worker = opened.and_then(|opened| facts.workers.get(&opened.worker));
            worker.is_some_and(|worker| worker.gives_back && !worker.froze)
        };
        let (mut is_counted, mut took_it_away) = (false, false);
        self.record.attempt(self.id, attempt, |opened| {
            opened.noted |= asking;
            took_it_away = asking && opened.deposed_owner;
            opened.released |= is_released;
            opened.given_back |= is_released && gives_back && !opened.broke && !opened.refused;
            is_counted = opened.is_free() && without_progress > opened.before.without_progress;
        });
        if took_it_away {
            let what = format_args!("was opened by attempt {attempt} while its owner was alive");
            self.record.violation_of(self.id, Rule::I3, what);
        }
        if is_counted {
            let what =
                format_args!("has {without_progress} attempts without progress, and one of them was none");
            self.record.violation_of(self.id, Rule::I11, what);
        }
    }
}

impl Drop for LedgerWriter {
    /// Its stream has no owner from now on, and the log knows.
    fn drop(&mut self) {
        let attempt = self.writer.attempt();
        if let Some(stream) = self.record.facts().streams.get_mut(&self.id)
            && stream.opens.last() == Some(&attempt)
        {
            stream.given_up = true;
        }
    }
}

#[async_trait]
impl WriterHooks for LedgerWriter {
    async fn record_attempts(&mut self, attempts: Attempts, ownership: Ownership) -> Result<(), LogError> {
        look_for_damage(&self.record, self.id)?;
        self.writer.record_attempts(attempts, ownership).await?;
        self.noted(attempts, ownership);
        Ok(())
    }

    async fn append(&mut self, batch: &[Event]) -> Result<Seq, LogError> {
        look_for_damage(&self.record, self.id)?;
        let last = self.writer.append(batch).await?;
        self.appended(batch, last);
        Ok(last)
    }

    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError> {
        look_for_damage(&self.record, self.id)?;
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
impl QueueHooks for LedgerQueue {
    fn queue(&self) -> &dyn JobQueue {
        &*self.queue
    }

    async fn enqueue(&self, job: &Job) -> Result<(), QueueError> {
        self.queue.enqueue(job).await?;
        let read = self.log.read(job.id, Seq::START, NonZeroUsize::MIN).await;
        let has_stream = !matches!(read, Err(LogError::NotFound(_)));
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

    async fn lease(&self) -> Result<Lease, QueueError> {
        Ok(self.leased(self.queue.lease().await?))
    }

    async fn dead_letter(&self) -> Result<Lease, QueueError> {
        Ok(self.leased(self.queue.dead_letter().await?))
    }
}

#[derive(Debug)]
struct LedgerHold {
    id: GenerationId,
    lease: Option<Lease>,
    record: Arc<Record>,
}

#[async_trait]
impl LeaseHandle for LedgerHold {
    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        let Some(lease) = self.lease.take() else { return Ok(()) };
        lease.ack().await?;
        let is_lost = self.record.stream(self.id, "acknowledged", |stream, _| {
            stream.jobs_acked += 1;
            // Once the queue has lost one, an acknowledgement may have been meant for another.
            let none_left = stream.has_job && !stream.has_jobs_left() && stream.jobs_lost == 0;
            none_left && stream.exists && stream.sealed.is_none() && stream.damaged.is_none()
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
