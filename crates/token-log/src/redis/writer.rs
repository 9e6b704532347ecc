//! The write side of one stream.

use std::{sync::Arc, time::Duration};

use ::redis::Pipeline;
use async_trait::async_trait;
use tokenwire_core::{
    Attempt, CancelCause, Event, GenerationId, LogError, LogWriter, Seq,
    token_log::{Cancellation, Prefix, Tail},
};
use tokio::task::JoinSet;

use super::{Shared, keys::Keys, millis, outage::Outage, page};
use crate::record::Batch;

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    id: GenerationId,
    keys: Keys,
    attempt: Attempt,
    /// What the server knows this writer by.
    token: String,
    so_far: Prefix,
    tail: Seq,
    sealed: bool,
    cancellation: Cancellation,
    /// Looks out for a stop between two appends; ends with the writer.
    _lookout: JoinSet<()>,
}

impl Writer {
    pub(super) async fn open(shared: Arc<Shared>, id: GenerationId) -> Result<Self, LogError> {
        let keys = shared.keys(id);
        let script = &shared.scripts.open_writer;
        let (attempt, token, tail, stop): (u32, String, u64, String) = shared
            .link
            .script(script.key(&keys.meta).key(&keys.audience))
            .await
            .map_err(|outage| outage.about(id))?;
        let tail = Seq::new(tail);
        // Earlier writers are fenced: nothing can be added to this any more.
        let so_far = page::prefix(&shared.link, &keys, id, tail).await?;
        let cancellation = Cancellation::default();
        obey(&stop, &cancellation);
        let mut lookout = JoinSet::new();
        lookout.spawn(look_out(Arc::clone(&shared), keys.clone(), cancellation.clone()));
        Ok(Self {
            shared,
            id,
            keys,
            attempt: Attempt::new(attempt),
            token,
            so_far,
            tail,
            sealed: false,
            cancellation,
            _lookout: lookout,
        })
    }

    /// Appends `events` right after what this writer knows of, and seals when the stream is to be kept for a time from now.
    /// Answers the tail of the stream.
    async fn write(&self, events: &[Event], keep: Option<Duration>) -> Result<Seq, Outage> {
        let first = self.tail.next();
        let last = self.tail.plus(events.len());
        let batch = match events {
            [] => Vec::new(),
            events => Batch { first, at: self.shared.clock.now(), events: events.to_vec() }.encode(),
        };
        let scripts = &self.shared.scripts;
        let mut script = if keep.is_some() { &scripts.seal } else { &scripts.append }.prepare_invoke();
        script
            .key(&self.keys.meta)
            .key(&self.keys.entries)
            .key(&self.keys.audience)
            .arg(&self.token)
            .arg(self.attempt.get())
            .arg(first.get())
            .arg(last.get())
            .arg(batch)
            .arg(&self.keys.appended)
            .arg(keep.map_or(String::new(), |keep| millis(keep).to_string()));
        let (tail, stop): (u64, String) = self.shared.link.script(&script).await?;
        obey(&stop, &self.cancellation);
        Ok(Seq::new(tail))
    }
}

#[async_trait]
impl LogWriter for Writer {
    fn attempt(&self) -> Attempt {
        self.attempt
    }

    fn so_far(&self) -> &Prefix {
        &self.so_far
    }

    fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    async fn append(&mut self, batch: &[Event]) -> Result<Seq, LogError> {
        debug_assert!(!batch.iter().any(Event::is_terminal), "a terminal event seals");
        if self.sealed {
            return Err(LogError::Sealed);
        }
        let tail = self.write(batch, None).await.map_err(|outage| outage.about(self.id))?;
        // Asking moves nothing: a batch of unknown outcome is repeated from where it began.
        if !batch.is_empty() {
            self.tail = tail;
        }
        Ok(tail)
    }

    async fn seal(&mut self, last: &Event) -> Result<Seq, LogError> {
        debug_assert!(last.is_terminal(), "only a terminal event seals");
        if self.sealed {
            return Err(LogError::Sealed);
        }
        loop {
            match self.write(std::slice::from_ref(last), Some(self.shared.retention)).await {
                Ok(tail) => {
                    self.sealed = true;
                    return Ok(tail);
                }
                // An append that was dropped has arrived after all. There is one at most, so this happens once.
                Err(outage) if outage.code() == Some("UNEXPECTED") => {
                    self.tail = self.write(&[], None).await.map_err(|outage| outage.about(self.id))?;
                }
                Err(outage) => return Err(outage.about(self.id)),
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
    let mut hints = Tail::new(hints);
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
