//! A log with one planted defect, on top of a sound one.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use testkit::wrapped::{LogHooks, Writer, WriterHooks};
use tokenwire_core::{
    Attempt, CancelCause, Entry, Epoch, Event, GenerationId, LogError, LogWriter, Seq, Timestamp, TokenLog,
    token_log::{
        Attempts, Cancellation, Created, Hint, JobClaim, OnDisconnect, Ownership, Page, Phase, Prefix,
        StreamSpec, Wakeups,
    },
};
use tokio::{sync::broadcast, time::sleep};
use tokio_util::task::TaskTracker;

use crate::Defect;

/// Between an announcement and the entry, or a job and its stream.
const TOO_LATE: Duration = Duration::from_millis(700);

#[derive(Clone, Debug)]
pub(crate) struct FlawedLog {
    log: Arc<dyn TokenLog>,
    defect: Defect,
    state: Arc<Mutex<State>>,
    tasks: TaskTracker,
}

type SharedWriter = Arc<tokio::sync::Mutex<Box<dyn LogWriter>>>;

#[derive(Debug, Default)]
struct State {
    newest: BTreeMap<GenerationId, SharedWriter>,
    after_seal: BTreeMap<GenerationId, Vec<Entry>>,
    /// A reader has taken its tail, and will read next.
    joining: BTreeSet<GenerationId>,
    tails: BTreeMap<GenerationId, broadcast::Sender<Hint>>,
    /// Of the newest writer.
    cancellations: BTreeMap<GenerationId, Cancellation>,
    /// Told to stop, and not looked at since.
    stopped: BTreeSet<GenerationId>,
}

impl FlawedLog {
    fn writer(&self, id: GenerationId, writer: Box<dyn LogWriter>, before: &[Entry]) -> Box<dyn LogWriter> {
        let mut flawed = Writer::new(writer, |writer| {
            let (start_by, attempts) = (writer.start_by(), writer.attempts());
            let writer: SharedWriter = Arc::new(tokio::sync::Mutex::new(writer));
            if self.has(Defect::FenceRemoved) {
                self.state().newest.insert(id, Arc::clone(&writer));
            }
            FlawedWriter { id, log: self.clone(), writer, start_by, attempts, most: 0 }
        });
        if self.has(Defect::AttemptReused) {
            flawed.attempt = Attempt::new(flawed.attempt.get().saturating_sub(1).max(1));
        }
        if self.has(Defect::PrefixIncomplete) {
            flawed.so_far = Prefix::default();
            let is_delta = |entry: &Entry| matches!(entry.event, Event::Delta { .. });
            let last = before.iter().rposition(is_delta);
            let kept = before.iter().enumerate().filter(|(index, _)| Some(*index) != last);
            kept.for_each(|(_, entry)| flawed.so_far.push(entry));
        }
        if self.has(Defect::OpeningsCount) {
            flawed.attempts.without_progress = flawed.attempt.get() - 1;
        }
        self.state().cancellations.insert(id, flawed.cancellation.clone());
        Box::new(flawed)
    }

    pub(crate) fn new(log: Arc<dyn TokenLog>, defect: Defect) -> Self {
        Self { log, defect, state: Arc::default(), tasks: TaskTracker::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    pub(crate) fn abandons_unknown_readers(&self) -> bool {
        self.has(Defect::UnknownIsEmpty)
    }

    /// Takes readers that it does not know for readers that have gone.
    pub(crate) fn abandon(&self, id: GenerationId) {
        if let Some(cancellation) = self.state().cancellations.get(&id) {
            cancellation.cancel(CancelCause::Abandoned);
        }
    }

    async fn whole(&self, id: GenerationId) -> Result<Page, LogError> {
        self.log.read(id, Seq::START, NonZeroUsize::MAX).await
    }

    /// What would be appended next.
    async fn as_entries(&self, id: GenerationId, events: &[Event]) -> Result<Vec<Entry>, LogError> {
        let first = self.whole(id).await?.last_seq.next();
        let at = Timestamp::from_millis(0);
        let entries = events.iter().enumerate();
        Ok(entries.map(|(index, event)| Entry { seq: first.plus(index), at, event: event.clone() }).collect())
    }

    fn lying_tail(&self, mut tail: Wakeups) -> Wakeups {
        let (sender, receiver) = broadcast::channel(16);
        self.tasks.spawn(async move {
            loop {
                let hint = tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    hint = tail.next() => hint,
                };
                let _ = sender.send(lie(hint));
            }
        });
        Wakeups::new(receiver)
    }
}

fn lie(hint: Hint) -> Hint {
    let Hint::Appended { epoch, entries } = hint else { return hint };
    let mut entries = entries.to_vec();
    for entry in &mut entries {
        if let Event::Delta { text, .. } = &mut entry.event {
            text.push('!');
        }
    }
    Hint::Appended { epoch, entries: entries.into() }
}

#[async_trait]
impl LogHooks for FlawedLog {
    fn log(&self) -> &dyn TokenLog {
        &*self.log
    }

    async fn create(&self, id: GenerationId, spec: &StreamSpec) -> Result<Created, LogError> {
        let mut spec = spec.clone();
        if self.has(Defect::AudienceIgnored) {
            spec.on_disconnect = OnDisconnect::Detached;
        }
        if self.has(Defect::StreamAfterJob) && self.whole(id).await.is_err() {
            let log = Arc::clone(&self.log);
            self.tasks.spawn(async move {
                sleep(TOO_LATE).await;
                log.create(id, &spec).await
            });
            return Ok(Created::New);
        }
        self.log.create(id, &spec).await
    }

    async fn open_writer(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        let before = self.whole(id).await?.entries;
        Ok(self.writer(id, self.log.open_writer(id).await?, &before))
    }

    async fn take_over(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        let before = self.whole(id).await?.entries;
        let writer = if self.has(Defect::OwnerDeposed) {
            self.log.open_writer(id).await?
        } else {
            self.log.take_over(id).await?
        };
        Ok(self.writer(id, writer, &before))
    }

    async fn read(&self, id: GenerationId, after: Seq, limit: NonZeroUsize) -> Result<Page, LogError> {
        let resumes = after > Seq::START && self.state().joining.remove(&id);
        let from = match self.defect {
            Defect::ResumeRepeats if resumes => Seq::new(after.get() - 1),
            Defect::ResumeSkips if resumes => after.next(),
            _ => after,
        };
        let mut page = self.log.read(id, from, limit).await?;
        if self.has(Defect::WaitingNotStopped)
            && page.phase != Phase::Sealed
            && self.state().stopped.remove(&id)
        {
            let end_by = Timestamp::from_millis(page.epoch.get()).after(TOO_LATE);
            page.phase = Phase::Running { end_by, silent_for: Duration::ZERO, waiting_until: None };
        }
        if let Some(more) = self.state().after_seal.get(&id) {
            page.entries.extend(more.iter().filter(|entry| entry.seq > after).cloned());
        }
        Ok(page)
    }

    async fn spec(&self, id: GenerationId) -> Result<StreamSpec, LogError> {
        let spec = self.log.spec(id).await?;
        let request = if self.has(Defect::RequestLost) { Bytes::new() } else { spec.request };
        Ok(StreamSpec { request, ..spec })
    }

    async fn wakeups(&self, id: GenerationId) -> Result<Wakeups, LogError> {
        self.state().joining.insert(id);
        match self.defect {
            Defect::HintsLie => Ok(self.lying_tail(self.log.wakeups(id).await?)),
            Defect::AnnouncedBeforeDurable => {
                let mut state = self.state();
                let sender = state.tails.entry(id).or_insert_with(|| broadcast::channel(16).0);
                Ok(Wakeups::new(sender.subscribe()))
            }
            _ => self.log.wakeups(id).await,
        }
    }

    async fn cancel(&self, id: GenerationId) -> Result<(), LogError> {
        if self.has(Defect::CancelForgotten) {
            return self.whole(id).await.map(|_| ());
        }
        self.log.cancel(id).await?;
        if self.has(Defect::WaitingNotStopped) {
            self.state().stopped.insert(id);
        }
        Ok(())
    }

    async fn touch_presence(&self, id: GenerationId) -> Result<(), LogError> {
        if self.has(Defect::ReadersUnseen) {
            return Ok(());
        }
        self.log.touch_presence(id).await
    }

    async fn claim_job(&self, id: GenerationId) -> Result<JobClaim, LogError> {
        let claim = self.log.claim_job(id).await?;
        Ok(if self.has(Defect::EveryClaimGiven) { JobClaim::Granted } else { claim })
    }
}

#[derive(Debug)]
struct FlawedWriter {
    id: GenerationId,
    log: FlawedLog,
    writer: SharedWriter,
    start_by: Timestamp,
    attempts: Attempts,
    /// The most attempts without progress that it has noted.
    most: u32,
}

impl FlawedWriter {
    /// The one that the log takes for the owner's.
    fn writer(&self) -> SharedWriter {
        let newest = self.log.state().newest.get(&self.id).cloned();
        newest.unwrap_or_else(|| Arc::clone(&self.writer))
    }

    async fn announce(&self, events: &[Event]) -> Result<(), LogError> {
        let entries = self.log.as_entries(self.id, events).await?;
        if let Some(sender) = self.log.state().tails.get(&self.id) {
            let _ = sender.send(Hint::Appended { epoch: Epoch::of(self.start_by), entries: entries.into() });
        }
        sleep(TOO_LATE).await;
        Ok(())
    }

    async fn append_after_seal(&self, batch: &[Event]) -> Result<Seq, LogError> {
        let entries = self.log.as_entries(self.id, batch).await?;
        let mut state = self.log.state();
        let after_seal = state.after_seal.entry(self.id).or_default();
        let shift = after_seal.len();
        after_seal.extend(entries.into_iter().map(|entry| Entry { seq: entry.seq.plus(shift), ..entry }));
        Ok(after_seal.last().map_or(Seq::START, |last| last.seq))
    }
}

#[async_trait]
impl WriterHooks for FlawedWriter {
    async fn record_attempts(
        &mut self,
        mut attempts: Attempts,
        ownership: Ownership,
    ) -> Result<(), LogError> {
        match self.log.defect {
            Defect::GiveBackCounts => {
                self.most = self.most.max(attempts.without_progress);
                attempts.without_progress = self.most;
            }
            // Records the old count again, so that the new attempt is not noted.
            Defect::AskingNotNoted => attempts = self.attempts,
            _ => {}
        }
        self.writer().lock().await.record_attempts(attempts, ownership).await
    }

    async fn append(&mut self, batch: &[Event]) -> Result<Seq, LogError> {
        if self.log.has(Defect::AnnouncedBeforeDurable) && !batch.is_empty() {
            self.announce(batch).await?;
        }
        match self.writer().lock().await.append(batch).await {
            Err(LogError::Sealed) if self.log.has(Defect::AppendAfterSeal) && !batch.is_empty() => {
                self.append_after_seal(batch).await
            }
            appended => appended,
        }
    }

    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError> {
        if self.log.has(Defect::SealLost) {
            return Ok(self.log.whole(self.id).await?.last_seq.next());
        }
        self.writer().lock().await.seal(last).await
    }
}
