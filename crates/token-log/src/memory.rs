//! The log in memory: the reference for the contract of [`TokenLog`], and the log of `--ephemeral`.
//!
//! It keeps the whole contract, except that it ends with its process. Every method does its work in one step under a lock,
//! so a dropped future leaves nothing half done.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tokenwire_core::{
    Attempt, CancelCause, Clock, Entry, Event, GenerationId, LogError, LogWriter, Seq, Timestamp, TokenLog,
    token_log::{
        Attempts, Cancellation, Created, Hint, JobClaim, OnDisconnect, Ownership, PRESENCE_TTL, Page, Phase,
        Prefix, StreamSpec, Wakeups,
    },
};
use tokio::time::Instant;

use crate::{claims::Claims, wakeups::WakeupRegistry};

/// A log of streams in memory.
#[derive(Debug)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    retention: Duration,
    /// Lock order: this before a stream.
    streams: Mutex<Streams>,
    wakeups: WakeupRegistry,
}

#[derive(Debug, Default)]
struct Streams {
    /// The only strong references: a writer of a removed stream finds it gone.
    by_id: HashMap<GenerationId, Arc<Mutex<Stream>>>,
    /// When to check whether a stream can be removed, soonest first. A sealed stream is here twice.
    to_forget: BinaryHeap<Reverse<(Instant, GenerationId)>>,
}

impl MemoryLog {
    fn writer(
        &self,
        id: GenerationId,
        stream: &Arc<Mutex<Stream>>,
        (attempt, so_far, cancellation): (Attempt, Prefix, Cancellation),
    ) -> Box<dyn LogWriter> {
        let (attempts, start_by, last_seq) = {
            let stream = lock(stream);
            (stream.attempts_so_far, stream.spec.start_by, stream.last_seq())
        };
        Box::new(MemoryWriter {
            id,
            log: Arc::clone(&self.shared),
            stream: Arc::downgrade(stream),
            attempt,
            start_by,
            last_seq,
            so_far,
            attempts,
            cancellation,
        })
    }

    /// An empty log. It removes a stream `retention` after its seal, or after its `end_by` if it is never sealed.
    pub fn new(clock: Arc<dyn Clock>, retention: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                retention,
                streams: Mutex::default(),
                wakeups: WakeupRegistry::default(),
            }),
        }
    }
}

impl Shared {
    fn find(&self, id: GenerationId) -> Result<Arc<Mutex<Stream>>, LogError> {
        self.streams().by_id.get(&id).cloned().ok_or(LogError::NotFound(id))
    }

    /// The streams, without those whose retention time is over.
    fn streams(&self) -> MutexGuard<'_, Streams> {
        let mut streams = lock(&self.streams);
        let now = Instant::now();
        while let Some(Reverse((at, id))) = streams.to_forget.peek().copied()
            && at <= now
        {
            streams.to_forget.pop();
            if streams.by_id.get(&id).is_some_and(|stream| lock(stream).forget_at <= now) {
                streams.by_id.remove(&id);
            }
        }
        streams
    }

    /// Keeps a sealed stream for the retention time from now.
    fn forget_later(&self, id: GenerationId) {
        let mut streams = self.streams();
        let forget_at = Instant::now() + self.retention;
        if let Some(stream) = streams.by_id.get(&id) {
            lock(stream).forget_at = forget_at;
            streams.to_forget.push(Reverse((forget_at, id)));
        }
    }
}

#[async_trait]
impl TokenLog for MemoryLog {
    async fn create(&self, id: GenerationId, spec: &StreamSpec) -> Result<Created, LogError> {
        let mut streams = self.shared.streams();
        if let Some(stream) = streams.by_id.get(&id) {
            return Ok(Created::Existing(lock(stream).spec.fingerprint));
        }
        let forget_at = Instant::now() + spec.end_by.since(self.shared.clock.now()) + self.shared.retention;
        streams.to_forget.push(Reverse((forget_at, id)));
        streams.by_id.insert(id, Arc::new(Mutex::new(Stream::new(spec.clone(), forget_at))));
        Ok(Created::New)
    }

    async fn open_writer(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        let stream = self.shared.find(id)?;
        let opened = lock(&stream).open()?;
        Ok(self.writer(id, &stream, opened))
    }

    async fn take_over(&self, id: GenerationId) -> Result<Box<dyn LogWriter>, LogError> {
        let stream = self.shared.find(id)?;
        let opened = {
            let mut stream = lock(&stream);
            if stream.phase().has_owner() {
                return Err(LogError::Fenced);
            }
            stream.open()?
        };
        Ok(self.writer(id, &stream, opened))
    }

    async fn read(&self, id: GenerationId, after: Seq, limit: NonZeroUsize) -> Result<Page, LogError> {
        let stream = self.shared.find(id)?;
        let stream = lock(&stream);
        let skip = usize::try_from(after.get()).unwrap_or(usize::MAX);
        let entries = stream.entries.iter().skip(skip).take(limit.get()).cloned().collect();
        let epoch = stream.spec.epoch();
        Ok(Page { entries, last_seq: stream.last_seq(), phase: stream.phase(), epoch })
    }

    async fn spec(&self, id: GenerationId) -> Result<StreamSpec, LogError> {
        Ok(lock(&*self.shared.find(id)?).spec.clone())
    }

    async fn wakeups(&self, id: GenerationId) -> Result<Wakeups, LogError> {
        Ok(self.shared.wakeups.listen(id))
    }

    async fn cancel(&self, id: GenerationId) -> Result<(), LogError> {
        let stream = self.shared.find(id)?;
        lock(&stream).cancel(CancelCause::Requested);
        Ok(())
    }

    async fn touch_presence(&self, id: GenerationId) -> Result<(), LogError> {
        if let Ok(stream) = self.shared.find(id) {
            lock(&stream).touch_presence();
        }
        Ok(())
    }

    async fn remove(&self, id: GenerationId) -> Result<(), LogError> {
        if self.shared.streams().by_id.remove(&id).is_some() {
            self.shared.wakeups.announce(id, Hint::Look);
        }
        Ok(())
    }

    async fn claim_job(&self, id: GenerationId) -> Result<JobClaim, LogError> {
        let stream = self.shared.find(id)?;
        let mut stream = lock(&stream);
        Ok(stream.claims.claim())
    }

    async fn job_stored(&self, id: GenerationId) -> Result<(), LogError> {
        if let Ok(stream) = self.shared.find(id) {
            lock(&stream).claims.stored();
        }
        Ok(())
    }

    async fn ready(&self) -> Result<(), LogError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Stream {
    spec: StreamSpec,
    entries: Vec<Entry>,
    /// The prefix for the next writer.
    so_far: Prefix,
    attempts: u32,
    attempts_so_far: Attempts,
    claims: Claims,
    /// Shared by all attempts: a request to stop also holds for the next one.
    cancellation: Cancellation,
    /// When the stream counts as without readers. `None`: that has no effect.
    present_until: Option<Instant>,
    /// When the owner was last heard of. `None` after it was dropped or released.
    heard_at: Option<Instant>,
    forget_at: Instant,
}

impl Stream {
    fn new(spec: StreamSpec, forget_at: Instant) -> Self {
        let mut stream = Self {
            spec,
            entries: Vec::new(),
            so_far: Prefix::default(),
            attempts: 0,
            attempts_so_far: Attempts::default(),
            claims: Claims::of_creator(),
            cancellation: Cancellation::default(),
            present_until: None,
            heard_at: None,
            forget_at,
        };
        stream.touch_presence();
        stream
    }

    fn open(&mut self) -> Result<(Attempt, Prefix, Cancellation), LogError> {
        if self.is_sealed() {
            return Err(LogError::Sealed);
        }
        self.attempts += 1;
        self.heard_at = Some(Instant::now());
        self.check_readers();
        Ok((Attempt::new(self.attempts), self.so_far.clone(), self.cancellation.clone()))
    }

    /// Whether this attempt may write now (I1, I3).
    fn check(&mut self, attempt: Attempt) -> Result<(), LogError> {
        if self.is_sealed() {
            return Err(LogError::Sealed);
        }
        if attempt.get() != self.attempts {
            return Err(LogError::Fenced);
        }
        self.heard_at = Some(Instant::now());
        self.check_readers();
        Ok(())
    }

    fn push(&mut self, entry: Entry) {
        self.so_far.push(&entry);
        self.entries.push(entry);
    }

    fn touch_presence(&mut self) {
        if let OnDisconnect::CancelAfter(grace) = self.spec.on_disconnect {
            self.present_until = Some(Instant::now() + PRESENCE_TTL + grace);
        }
    }

    fn check_readers(&mut self) {
        if self.present_until.is_some_and(|until| until <= Instant::now()) {
            self.cancel(CancelCause::Abandoned);
        }
    }

    fn cancel(&mut self, cause: CancelCause) {
        if !self.is_sealed() {
            self.cancellation.cancel(cause);
        }
    }

    fn last_seq(&self) -> Seq {
        Seq::START.plus(self.entries.len())
    }

    fn is_sealed(&self) -> bool {
        self.entries.last().is_some_and(|last| last.event.is_terminal())
    }

    fn phase(&self) -> Phase {
        let StreamSpec { created_at, start_by, end_by, .. } = self.spec;
        match self.attempts {
            _ if self.is_sealed() => Phase::Sealed,
            0 => Phase::Queued { created_at, start_by },
            _ => {
                let silent_for = self.heard_at.map_or(Duration::MAX, |at| at.elapsed());
                let waiting_until = self.attempts_so_far.waiting_until;
                Phase::Running { end_by, silent_for, waiting_until }
            }
        }
    }
}

#[derive(Debug)]
struct MemoryWriter {
    id: GenerationId,
    log: Arc<Shared>,
    stream: Weak<Mutex<Stream>>,
    attempt: Attempt,
    start_by: Timestamp,
    /// The last entry of the stream after the last write.
    last_seq: Seq,
    so_far: Prefix,
    attempts: Attempts,
    cancellation: Cancellation,
}

impl MemoryWriter {
    fn write(&self, events: &[Event]) -> Result<Seq, LogError> {
        let stream = self.stream.upgrade().ok_or(LogError::NotFound(self.id))?;
        let mut stream = lock(&stream);
        stream.check(self.attempt)?;
        let at = self.log.clock.now();
        let first = stream.last_seq().next();
        let entries: Arc<[Entry]> = events
            .iter()
            .enumerate()
            .map(|(index, event)| Entry { seq: first.plus(index), at, event: event.clone() })
            .collect();
        for entry in &*entries {
            stream.push(entry.clone());
        }
        if !entries.is_empty() {
            // Under the lock, so that hints are in the order of the entries.
            self.log.wakeups.announce(self.id, Hint::Appended { epoch: self.epoch(), entries });
        }
        Ok(stream.last_seq())
    }
}

#[async_trait]
impl LogWriter for MemoryWriter {
    fn attempt(&self) -> Attempt {
        self.attempt
    }

    fn start_by(&self) -> Timestamp {
        self.start_by
    }

    fn so_far(&self) -> &Prefix {
        &self.so_far
    }

    fn attempts(&self) -> Attempts {
        self.attempts
    }

    async fn record_attempts(&mut self, attempts: Attempts, ownership: Ownership) -> Result<(), LogError> {
        let stream = self.stream.upgrade().ok_or(LogError::NotFound(self.id))?;
        let mut stream = lock(&stream);
        stream.check(self.attempt)?;
        stream.attempts_so_far = attempts;
        if ownership == Ownership::Released {
            stream.heard_at = None;
            self.log.wakeups.announce(self.id, Hint::Look);
        }
        Ok(())
    }

    fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    async fn submit(&mut self, batch: &[Event]) -> Result<(), LogError> {
        self.last_seq = self.write(batch)?;
        Ok(())
    }

    async fn settle(&mut self) -> Result<Seq, LogError> {
        Ok(self.last_seq)
    }

    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError> {
        let seq = self.write(std::slice::from_ref(last))?;
        self.log.forget_later(self.id);
        Ok(seq)
    }
}

impl Drop for MemoryWriter {
    /// The next attempt need not wait for a dropped writer.
    fn drop(&mut self) {
        if let Some(stream) = self.stream.upgrade() {
            let mut stream = lock(&stream);
            if stream.attempts == self.attempt.get() {
                stream.heard_at = None;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokenwire_core::{Caller, Failure, Fingerprint, SystemClock};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_forgotten_when_its_retention_time_is_over() {
        let log = MemoryLog::new(Arc::new(SystemClock), HOUR);
        let now = SystemClock.now();
        let spec = StreamSpec {
            fingerprint: Fingerprint::from_bytes([0; 32]),
            caller: Caller::Anonymous,
            on_disconnect: OnDisconnect::Detached,
            created_at: now,
            start_by: now,
            end_by: now.after(2 * HOUR),
            metadata: Bytes::from_static(b"memo"),
            request: Bytes::new(),
        };
        let (sealed, unsealed) = (GenerationId::fresh(), GenerationId::fresh());
        log.create(sealed, &spec).await.unwrap();
        log.create(unsealed, &spec).await.unwrap();
        let mut writer = log.open_writer(sealed).await.unwrap();
        tokio::time::advance(HOUR / 2).await;
        writer.seal(&Event::Failed { failure: Failure::Lost }).await.unwrap();

        let is_kept = async |id| {
            let is_kept = log.read(id, Seq::START, NonZeroUsize::MIN).await.is_ok();
            assert_eq!(log.spec(id).await.is_ok(), is_kept, "with all that was fixed about it");
            is_kept
        };
        tokio::time::advance(Duration::from_secs(3599)).await;
        assert!(is_kept(sealed).await && is_kept(unsealed).await);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!is_kept(sealed).await && is_kept(unsealed).await);
        tokio::time::advance(2 * HOUR).await;
        assert!(!is_kept(unsealed).await);
        assert!(log.shared.streams().to_forget.is_empty());
    }
}
