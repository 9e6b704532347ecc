//! The writer of one stream.

use std::{sync::Arc, time::Duration};

use ::redis::{Cmd, Pipeline, Script, Value};
use async_trait::async_trait;
use tokenwire_core::{
    Attempt, CancelCause, Event, GenerationId, LogError, LogWriter, Seq, Timestamp,
    token_log::{Attempts, Cancellation, Ownership, PRESENCE_TTL, Prefix, WRITER_TIMEOUT, Wakeups},
};
use tokio::{task::JoinSet, time::Instant};

use super::{
    Shared,
    appends::Sent,
    attempts,
    keys::Keys,
    millis,
    outage::Outage,
    page::{self, Damage, StoredBatch},
    restore::{Fixed, Memory, Owner},
};
use crate::record::Batch;

/// How often an append also records that the writer lives and asks about readers. The wait of readers for a takeover grows
/// by up to this time.
const ASK_EVERY: Duration = WRITER_TIMEOUT.checked_div(4).expect("four is not zero");

/// The server's error code for a script that it does not know.
const NOSCRIPT: &str = "NOSCRIPT";

/// The maximum number of arguments of an append, and the size of those that are neither names nor text.
const ARGUMENTS: usize = 15;
const NUMBERS: usize = 160;

/// The size of a fingerprint, in bytes.
const FINGERPRINT_BYTES: usize = 32;

#[derive(Debug)]
pub(super) struct RedisWriter {
    shared: Arc<Shared>,
    id: GenerationId,
    keys: Keys,
    retention: Duration,
    attempt: Attempt,
    /// The token by which the server knows this writer.
    token: String,
    so_far: Prefix,
    /// The state of the attempts before this one.
    attempts: Attempts,
    /// The content of the stream, to restore it.
    memory: Memory,
    /// The last batch, until its outcome is known. Readers may have it.
    unsettled: Option<Unsettled>,
    /// The pending answer to it, and when a question was sent with it.
    on_its_way: Option<(Sent, Option<Instant>)>,
    sealed: bool,
    /// When the last answered question ([`Also::Ask`]) was sent. Opening the stream is one.
    asked: Instant,
    cancellation: Cancellation,
    /// Listens for a stop between two appends. Ends with the writer.
    _lookout: JoinSet<()>,
}

/// A batch of unknown outcome.
#[derive(Debug)]
struct Unsettled {
    stored: StoredBatch,
    events: Vec<Event>,
}

/// What an append does in addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Also {
    Nothing,
    /// Records that the writer lives, and asks whether there are readers and whether all entries exist.
    Ask,
    /// Seals the stream, and keeps it for this time.
    Seal(Duration),
}

/// The answer of `open_writer.lua`.
type Opened = (u32, String, u64, String, String, Created);
type Created = (Vec<u8>, u64, u64, u64, String, Vec<u8>, Vec<u8>, String);

impl RedisWriter {
    /// Opens a stream, unless its owner was heard of within `owner_silent_for`. The stream is kept for `retention` after
    /// its end.
    pub(super) async fn open(
        shared: Arc<Shared>,
        id: GenerationId,
        retention: Duration,
        owner_silent_for: Duration,
    ) -> Result<Self, LogError> {
        let keys = shared.keys(id);
        let script = &shared.scripts.open_writer;
        let asked = Instant::now();
        shared.link.up().await.map_err(|outage| outage.about(id))?;
        // Readers may have been disconnected as this process was. They get time to come back.
        let was_away = if shared.link.was_away_within(PRESENCE_TTL) { "1" } else { "" };
        let mut open = script.key(&keys.meta);
        open.key(&keys.audience)
            .arg(millis(PRESENCE_TTL))
            .arg(was_away)
            .arg(owner_silent_for.as_millis().to_string());
        let opened: Opened = shared.link.script(&open).await.map_err(|outage| outage.about(id))?;
        let (attempt, token, last_seq, stop, noted, created) = opened;
        let (fingerprint, created_at, start_by, end_by, grace, metadata, request, caller) = created;
        // A missing field is empty here.
        if fingerprint.len() != FINGERPRINT_BYTES {
            return Err(Damage::Meta.into());
        }
        let attempts = attempts::decode(&noted);
        // Earlier writers are fenced, so the content does not change.
        let (so_far, batches) = page::prefix(&shared.link, &keys, id, Seq::new(last_seq)).await?;
        let fixed = Fixed { fingerprint, created_at, start_by, end_by, grace, metadata, request, caller };
        let cancellation = Cancellation::default();
        obey(&stop, &cancellation);
        let mut lookout = JoinSet::new();
        lookout.spawn(look_out(Arc::clone(&shared), keys.clone(), cancellation.clone()));
        Ok(Self {
            shared,
            id,
            keys,
            retention,
            attempt: Attempt::new(attempt),
            token,
            so_far,
            attempts,
            memory: Memory { fixed, batches, attempts },
            unsettled: None,
            on_its_way: None,
            sealed: false,
            asked,
            cancellation,
            _lookout: lookout,
        })
    }

    /// A batch that follows the content of the stream.
    fn batch(&self, events: &[Event]) -> Unsettled {
        let last_seq = self.memory.last_seq();
        let batch = Batch { first: last_seq.next(), at: self.shared.clock.now(), events: events.to_vec() };
        let stored = StoredBatch { last: last_seq.plus(events.len()), record: batch.encode() };
        Unsettled { stored, events: batch.events }
    }

    /// Sends a batch that follows the content of the stream. It is remembered if this future is dropped.
    async fn begin(&mut self, batch: &[Event]) -> Result<(), Outage> {
        if self.unsettled.as_ref().is_some_and(|unsettled| unsettled.events != batch) {
            Box::pin(self.outcome()).await?;
        }
        if self.unsettled.is_none() {
            let unsettled = self.batch(batch);
            let began = Instant::now();
            let also = self.due(began);
            let command = self.command(&self.shared.scripts.append, Some(&unsettled.stored), also);
            self.unsettled = Some(unsettled);
            let sent = self.shared.appends.begin(command).await;
            self.on_its_way = Some((sent, (also == Also::Ask).then_some(began)));
        }
        Ok(())
    }

    /// Waits until the batch of unknown outcome, if any, is in the stream. Can be dropped and called again.
    async fn outcome(&mut self) -> Result<(), Outage> {
        if let Some((sent, asked)) = &mut self.on_its_way {
            let (answer, asked) = (sent.answer().await, *asked);
            self.on_its_way = None;
            match answer.and_then(|answer| self.understand(answer)) {
                Ok(_) => {
                    self.settled(asked);
                    return Ok(());
                }
                // Sent again below, after a restore or with the script.
                Err(outage) if outage.is_loss() || outage.code() == Some(NOSCRIPT) => {}
                Err(outage) => return Err(outage),
            }
        }
        if self.unsettled.is_some() { Box::pin(self.again()).await } else { Ok(()) }
    }

    /// Sends the batch of unknown outcome again. The stream has it once.
    async fn again(&mut self) -> Result<(), Outage> {
        self.on_its_way = None;
        let began = Instant::now();
        let also = self.due(began);
        self.write(self.unsettled.as_ref().map(|unsettled| &unsettled.stored), also).await?;
        self.settled((also == Also::Ask).then_some(began));
        Ok(())
    }

    fn settled(&mut self, asked: Option<Instant>) {
        self.asked = asked.unwrap_or(self.asked);
        if let Some(Unsettled { stored, .. }) = self.unsettled.take() {
            self.memory.batches.push(stored);
        }
    }

    fn due(&self, now: Instant) -> Also {
        if now - self.asked >= ASK_EVERY { Also::Ask } else { Also::Nothing }
    }

    async fn ask(&mut self) -> Result<(), Outage> {
        let began = Instant::now();
        self.write(None, Also::Ask).await?;
        self.asked = began;
        Ok(())
    }

    /// Appends a batch, if any. Restores a lost stream first. Returns the last seq.
    async fn write(&self, batch: Option<&StoredBatch>, also: Also) -> Result<Seq, Outage> {
        match self.send(batch, also).await {
            // Boxed, because it is rare and would enlarge the future of every append.
            Err(lost) if lost.is_loss() => Box::pin(self.write_again(&lost, batch, also)).await,
            outcome => outcome,
        }
    }

    async fn write_again(
        &self,
        lost: &Outage,
        batch: Option<&StoredBatch>,
        also: Also,
    ) -> Result<Seq, Outage> {
        self.restore_after(lost).await?;
        self.send(batch, also).await.map_err(Outage::again)
    }

    async fn send(&self, batch: Option<&StoredBatch>, also: Also) -> Result<Seq, Outage> {
        let Shared { scripts, link, appends, .. } = &*self.shared;
        let script = if matches!(also, Also::Seal(_)) { &scripts.seal } else { &scripts.append };
        let answer = match appends.send(self.command(script, batch, also)).await {
            Err(outage) if outage.code() == Some(NOSCRIPT) => {
                Box::pin(link.load(script)).await?;
                Box::pin(appends.send(self.command(script, batch, also))).await?
            }
            answer => answer?,
        };
        self.understand(answer)
    }

    /// Records the state of the attempts. Restores a lost stream first.
    async fn record(&self, attempts: Attempts, ownership: Ownership) -> Result<(), Outage> {
        match self.send_attempts(attempts, ownership).await {
            Err(lost) if lost.is_loss() => {
                self.restore_after(&lost).await?;
                self.send_attempts(attempts, ownership).await.map_err(Outage::again)
            }
            outcome => outcome,
        }
    }

    /// Sent through the queue of appends, so that it follows a dropped append.
    async fn send_attempts(&self, attempts: Attempts, ownership: Ownership) -> Result<(), Outage> {
        let Shared { scripts, link, appends, .. } = &*self.shared;
        let script = &scripts.record_attempts;
        let released = ownership == Ownership::Released;
        let wakes = released || attempts.waiting_until.is_some();
        let command = || {
            let mut command = ::redis::cmd("EVALSHA");
            command.arg(script.get_hash()).arg(1).arg(&self.keys.meta);
            command.arg(&self.token).arg(attempts::encode(attempts));
            command.arg(if released { "1" } else { "" });
            command.arg(if wakes { &self.keys.appended } else { "" });
            command
        };
        let answer = match appends.send(command()).await {
            Err(outage) if outage.code() == Some(NOSCRIPT) => {
                link.load(script).await?;
                appends.send(command()).await?
            }
            answer => answer?,
        };
        // A stop may have arrived while the attempt ended.
        let stop: String = link.understand(answer)?;
        obey(&stop, &self.cancellation);
        Ok(())
    }

    /// The last seq in an answer of `append.lua`.
    fn understand(&self, answer: Value) -> Result<Seq, Outage> {
        let link = &self.shared.link;
        let last_seq = match answer {
            told @ Value::Array(_) => {
                let (last_seq, stop): (u64, String) = link.understand(told)?;
                obey(&stop, &self.cancellation);
                last_seq
            }
            last_seq => link.understand(last_seq)?,
        };
        Ok(Seq::new(last_seq))
    }

    /// The `EVALSHA` command for `append.lua`.
    fn command(&self, script: &Script, batch: Option<&StoredBatch>, also: Also) -> Cmd {
        let last_seq = self.memory.last_seq();
        let keys = [&self.keys.meta, &self.keys.entries, &self.keys.audience];
        let record = batch.map_or(&[][..], |batch| &batch.record);
        let names = self.keys.appended.len() + keys.iter().map(|key| key.len()).sum::<usize>();
        let mut command = Cmd::with_capacity(ARGUMENTS, NUMBERS + names + record.len());
        command.arg("EVALSHA").arg(script.get_hash()).arg(keys.len()).arg(&keys);
        command
            .arg(&self.token)
            .arg(last_seq.next().get())
            .arg(batch.map_or(last_seq, |batch| batch.last).get())
            .arg(record)
            .arg(&self.keys.appended)
            .arg(self.memory.fixed.start_by);
        match also {
            Also::Nothing => command.arg(""),
            Also::Ask => command.arg(millis(PRESENCE_TTL)).arg(self.memory.batches.len()),
            Also::Seal(keep) => command.arg("").arg("").arg(millis(keep)),
        };
        command
    }

    async fn restore_after(&self, lost: &Outage) -> Result<(), Outage> {
        tracing::warn!(
            generation.id = %self.id, attempt = %self.attempt, seq = %self.memory.last_seq(),
            cause = lost as &dyn std::error::Error, "redis has lost entries; restoring the stream"
        );
        self.put_back().await?;
        tracing::info!(generation.id = %self.id, attempt = %self.attempt, "restored the stream in redis");
        Ok(())
    }

    /// Restores the stream.
    pub(super) async fn put_back(&self) -> Result<(), Outage> {
        let owner = Owner {
            token: &self.token,
            attempt: self.attempt,
            told_to_stop: self.cancellation.cause(),
            retention: self.retention,
        };
        let unsettled = self.unsettled.as_ref().map(|unsettled| &unsettled.stored);
        self.memory.restore(&self.shared, &self.keys, owner, unsettled).await
    }

    fn error(&self, outage: Outage) -> LogError {
        outage.about(self.id)
    }
}

#[async_trait]
impl LogWriter for RedisWriter {
    fn attempt(&self) -> Attempt {
        self.attempt
    }

    fn start_by(&self) -> Timestamp {
        Timestamp::from_millis(self.memory.fixed.start_by)
    }

    fn so_far(&self) -> &Prefix {
        &self.so_far
    }

    fn attempts(&self) -> Attempts {
        self.attempts
    }

    async fn record_attempts(&mut self, attempts: Attempts, ownership: Ownership) -> Result<(), LogError> {
        if self.sealed {
            return Err(LogError::Sealed);
        }
        // Set before the write succeeds: a restore writes it too.
        self.memory.attempts = attempts;
        Box::pin(self.record(attempts, ownership)).await.map_err(|outage| self.error(outage))
    }

    fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    async fn submit(&mut self, batch: &[Event]) -> Result<(), LogError> {
        debug_assert!(!batch.iter().any(Event::is_terminal), "a stream ends by a seal");
        if self.sealed {
            return Err(LogError::Sealed);
        }
        if batch.is_empty() {
            return Box::pin(self.ask()).await.map_err(|outage| self.error(outage));
        }
        self.begin(batch).await.map_err(|outage| self.error(outage))
    }

    async fn settle(&mut self) -> Result<Seq, LogError> {
        self.outcome().await.map_err(|outage| self.error(outage))?;
        Ok(self.memory.last_seq())
    }

    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError> {
        debug_assert!(last.is_terminal(), "only a terminal event seals");
        if self.sealed {
            return Err(LogError::Sealed);
        }
        loop {
            let batch = self.batch(std::slice::from_ref(last)).stored;
            match self.write(Some(&batch), Also::Seal(self.retention)).await {
                Ok(last_seq) => {
                    self.sealed = true;
                    return Ok(last_seq);
                }
                // A dropped append has arrived. There is at most one, so this happens once.
                Err(outage) if outage.code() == Some("UNEXPECTED") && self.unsettled.is_some() => {
                    self.again().await.map_err(|outage| self.error(outage))?;
                }
                Err(outage) => return Err(self.error(outage)),
            }
        }
    }
}

/// Applies the reason to stop in the answer of a script.
fn obey(stop: &str, cancellation: &Cancellation) {
    match stop {
        "requested" => cancellation.cancel(CancelCause::Requested),
        "abandoned" => cancellation.cancel(CancelCause::Abandoned),
        _ => {}
    }
}

/// Listens for a stop between two appends. The next append makes up for an error here.
async fn look_out(shared: Arc<Shared>, keys: Keys, cancellation: Cancellation) {
    let Ok(hints) = shared.subscriptions.listen(keys.stop.clone()).await else { return };
    let mut hints = Wakeups::new(hints);
    // Subscribe first, read second, so that no stop is missed.
    while cancellation.cause().is_none() {
        if is_cancelled(&shared, &keys).await.unwrap_or(false) {
            cancellation.cancel(CancelCause::Requested);
            return;
        }
        hints.next().await;
    }
}

async fn is_cancelled(shared: &Shared, keys: &Keys) -> Result<bool, Outage> {
    let mut ask = Pipeline::new();
    ask.cmd("HEXISTS").arg(&keys.meta).arg("cancelled");
    let (cancelled,) = shared.link.pipeline(&ask).await?;
    Ok(cancelled)
}
