//! The write side of one stream.

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

/// How long a writer appends without saying that it lives and asking about its audience. Both need not be known to the
/// piece; a sign of life may be this old when the writer falls silent, and the next comes with its first check.
const ASK_EVERY: Duration = WRITER_TIMEOUT.checked_div(4).expect("four is not zero");

/// What the server says to a script that it was never told.
const NOSCRIPT: &str = "NOSCRIPT";

/// How many arguments an append has at most, and room for those that are no names and no text.
const ARGUMENTS: usize = 15;
const NUMBERS: usize = 160;

/// How large a fingerprint is.
const FINGERPRINT_BYTES: usize = 32;

#[derive(Debug)]
pub(super) struct RedisWriter {
    shared: Arc<Shared>,
    id: GenerationId,
    keys: Keys,
    retention: Duration,
    attempt: Attempt,
    /// What the server knows this writer by.
    token: String,
    so_far: Prefix,
    /// What was noted of the attempts before this one.
    attempts: Attempts,
    /// What is in the stream, should the server forget it.
    memory: Memory,
    /// The batch that was sent last, until its fate is known: readers may have it.
    unsettled: Option<Unsettled>,
    /// The answer to that, if it was submitted and not asked for yet, and when a question went along.
    on_its_way: Option<(Sent, Option<Instant>)>,
    sealed: bool,
    /// When the last question was sent that was answered ([`Also::Ask`]); opening the stream was one.
    asked: Instant,
    cancellation: Cancellation,
    /// Looks out for a stop between two appends; ends with the writer.
    _lookout: JoinSet<()>,
}

/// A batch on its way.
#[derive(Debug)]
struct Unsettled {
    stored: StoredBatch,
    events: Vec<Event>,
}

/// What an append does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Also {
    Nothing,
    /// Says that the owner lives, and asks whether there are readers and whether all entries are still there.
    Ask,
    /// Seals the stream, and keeps it for this time from now.
    Seal(Duration),
}

/// What `open_writer.lua` answers.
type Opened = (u32, String, u64, String, String, Created);
type Created = (Vec<u8>, u64, u64, u64, String, Vec<u8>, Vec<u8>, String);

impl RedisWriter {
    /// Opens a stream that is kept for `retention` after its end, unless its owner was heard of within `owner_silent_for`.
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
        // Readers come back as this process did: they may not have had the time to say that they are there.
        let was_away = if shared.link.was_away_within(PRESENCE_TTL) { "1" } else { "" };
        let mut open = script.key(&keys.meta);
        open.key(&keys.audience)
            .arg(millis(PRESENCE_TTL))
            .arg(was_away)
            .arg(owner_silent_for.as_millis().to_string());
        let opened: Opened = shared.link.script(&open).await.map_err(|outage| outage.about(id))?;
        let (attempt, token, last_seq, stop, noted, created) = opened;
        let (fingerprint, created_at, start_by, end_by, grace, metadata, request, caller) = created;
        // A field that is missing is empty here.
        if fingerprint.len() != FINGERPRINT_BYTES {
            return Err(Damage::Meta.into());
        }
        let attempts = attempts::decode(&noted);
        // Earlier writers are fenced: nothing can be added to this any more.
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

    /// A batch right after what is in the stream.
    fn batch(&self, events: &[Event]) -> Unsettled {
        let last_seq = self.memory.last_seq();
        let batch = Batch { first: last_seq.next(), at: self.shared.clock.now(), events: events.to_vec() };
        let stored = StoredBatch { last: last_seq.plus(events.len()), record: batch.encode() };
        Unsettled { stored, events: batch.events }
    }

    /// Puts a batch on its way, right after what is in the stream. Remembered if this is dropped.
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

    /// Waits until the batch of unknown fate, if there is one, is in the stream. May be dropped and called again.
    async fn outcome(&mut self) -> Result<(), Outage> {
        if let Some((sent, asked)) = &mut self.on_its_way {
            let (answer, asked) = (sent.answer().await, *asked);
            self.on_its_way = None;
            match answer.and_then(|answer| self.understand(answer)) {
                Ok(_) => {
                    self.settled(asked);
                    return Ok(());
                }
                // Sent again below, with what helps.
                Err(outage) if outage.is_loss() || outage.code() == Some(NOSCRIPT) => {}
                Err(outage) => return Err(outage),
            }
        }
        if self.unsettled.is_some() { Box::pin(self.again()).await } else { Ok(()) }
    }

    /// Sends the batch of unknown fate again: it is in the stream once.
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

    /// Appends a batch where there is one. When the server has lost the stream it is written again first. Answers the last seq.
    async fn write(&self, batch: Option<&StoredBatch>, also: Also) -> Result<Seq, Outage> {
        match self.send(batch, also).await {
            // Boxed, as all that is rare: every piece carries the room for what is not.
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

    /// Notes what the attempts came to. When the server has lost the stream it is written again first.
    async fn record(&self, attempts: Attempts, ownership: Ownership) -> Result<(), Outage> {
        match self.send_attempts(attempts, ownership).await {
            Err(lost) if lost.is_loss() => {
                self.restore_after(&lost).await?;
                self.send_attempts(attempts, ownership).await.map_err(Outage::again)
            }
            outcome => outcome,
        }
    }

    /// Goes the way of the appends: one that was dropped comes before it.
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
        // A stop that came while the attempt ended, whose wake-up is still on its way.
        let stop: String = link.understand(answer)?;
        obey(&stop, &self.cancellation);
        Ok(())
    }

    /// The last_seq, out of an answer of `append.lua`, which may say more.
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

    /// What `append.lua` takes, by the script's name alone.
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
            cause = lost as &dyn std::error::Error, "redis has lost entries; writing the stream again"
        );
        self.put_back().await?;
        tracing::info!(generation.id = %self.id, attempt = %self.attempt, "the stream is in redis again");
        Ok(())
    }

    /// Writes all of the stream again.
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
        // Before it is known to be stored: if the server loses it, it is put back, and noted once more after that.
        self.memory.attempts = attempts;
        Box::pin(self.record(attempts, ownership)).await.map_err(|outage| self.error(outage))
    }

    fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    async fn submit(&mut self, batch: &[Event]) -> Result<(), LogError> {
        debug_assert!(!batch.iter().any(Event::is_terminal), "a terminal event seals");
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
                // An append that was dropped has arrived after all. There is one at most, so this happens once.
                Err(outage) if outage.code() == Some("UNEXPECTED") && self.unsettled.is_some() => {
                    self.again().await.map_err(|outage| self.error(outage))?;
                }
                Err(outage) => return Err(self.error(outage)),
            }
        }
    }
}

/// What a script says about stopping.
fn obey(stop: &str, cancellation: &Cancellation) {
    match stop {
        "requested" => cancellation.cancel(CancelCause::Requested),
        "abandoned" => cancellation.cancel(CancelCause::Abandoned),
        _ => {}
    }
}

/// Waits for somebody to stop the generation while nothing is appended. Whatever goes wrong here is made up for by the
/// next append.
async fn look_out(shared: Arc<Shared>, keys: Keys, cancellation: Cancellation) {
    let Ok(hints) = shared.subscriptions.listen(keys.stop.clone()).await else { return };
    let mut hints = Wakeups::new(hints);
    // Listen first, look second: a stop in between is not missed.
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
