//! Restores a stream that the server has lost, from the memory of its writer.
//!
//! A server that comes back empty, or in an older state, lacks entries that readers have. A live writer has the whole
//! stream in its stored form and writes the same entries under the same seqs (I1, I2). It stages the batches under a key of
//! their own, in parts that do not block the server. One script then checks that the stream still belongs to this writer,
//! and shows all of it at once.
//!
//! A stream is not restored when it is sealed, when a newer attempt has opened it or has continued it (I3), and when it was
//! removed: [`tokenwire_core::TokenLog::remove`] leaves a mark for writers that were frozen or disconnected. A stream that
//! no attempt has opened cannot be restored.
//!
//! Not here: a stream whose writer is gone. Its readers get `lost`.

use std::{fmt, time::Duration};

use ::redis::Pipeline;
use tokenwire_core::{
    Attempt, CancelCause, Seq, Timestamp,
    token_log::{Attempts, PRESENCE_TTL},
};

use super::{Shared, attempts, keys::Keys, millis, outage::Outage, page::StoredBatch};

/// The size of one staging command in bytes, plus at most one batch: some milliseconds of the server's time.
const AT_ONCE: usize = 1024 * 1024;

/// How long staged batches are kept. They only stay when the writer dies while it stages.
const KEEP_STAGED_MS: u64 = 60_000;

/// The stream as the server has acknowledged it, from all attempts.
///
/// Its size is bounded by the size of the answer (the model's token limit), the metadata and the request.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) fixed: Fixed,
    pub(super) batches: Vec<StoredBatch>,
    /// The last recorded state of the attempts.
    pub(super) attempts: Attempts,
}

/// The spec of the stream, as the server stores it.
pub(super) struct Fixed {
    pub(super) fingerprint: Vec<u8>,
    pub(super) created_at: u64,
    pub(super) start_by: u64,
    pub(super) end_by: u64,
    /// In milliseconds. Empty when the stream is detached.
    pub(super) grace: String,
    pub(super) metadata: Vec<u8>,
    pub(super) request: Vec<u8>,
    /// Empty when the caller is anonymous.
    pub(super) caller: String,
}

/// Metadata and request are private.
impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixed").field("created_at", &self.created_at).finish_non_exhaustive()
    }
}

/// The writer that restores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) token: &'a str,
    pub(super) attempt: Attempt,
    /// Whether a stop was requested before the loss.
    pub(super) told_to_stop: Option<CancelCause>,
    /// How long the stream is kept after its end.
    pub(super) retention: Duration,
}

impl Memory {
    /// The last entry that the server has acknowledged.
    pub(super) fn last_seq(&self) -> Seq {
        self.batches.last().map_or(Seq::START, |batch| batch.last)
    }

    /// Restores the stream, and the batch of unknown outcome after it: readers may have it. Can be dropped and called
    /// again.
    pub(super) async fn restore(
        &self,
        shared: &Shared,
        keys: &Keys,
        owner: Owner<'_>,
        unsettled: Option<&StoredBatch>,
    ) -> Result<(), Outage> {
        let staged = keys.restoring(owner.token);
        let batches: Vec<_> = self.batches.iter().chain(unsettled).collect();
        stage(shared, &staged, &batches).await?;

        let Fixed { fingerprint, created_at, start_by, end_by, grace, metadata, request, caller } =
            &self.fixed;
        let left = Timestamp::from_millis(*end_by).since(shared.clock.now());
        let last_seq = batches.last().map_or(Seq::START, |batch| batch.last);
        let cancelled = owner.told_to_stop == Some(CancelCause::Requested);
        let mut script = shared.scripts.restore.prepare_invoke();
        script
            .key(&keys.meta)
            .key(&keys.entries)
            .key(&keys.audience)
            .key(&keys.removed)
            .key(&staged)
            .arg(owner.token)
            .arg(owner.attempt.get())
            .arg(last_seq.get())
            .arg(batches.len())
            .arg(fingerprint)
            .arg(created_at)
            .arg(start_by)
            .arg(end_by)
            .arg(grace)
            .arg(if cancelled { "1" } else { "" })
            .arg(millis(left.saturating_add(owner.retention)))
            .arg(millis(PRESENCE_TTL))
            .arg(&keys.appended)
            .arg(&**metadata)
            .arg(&**request)
            .arg(attempts::encode(self.attempts))
            .arg(caller);
        shared.link.script(&script).await
    }
}

async fn stage(shared: &Shared, key: &str, batches: &[&StoredBatch]) -> Result<(), Outage> {
    let mut begin = Pipeline::new();
    // Remove what an earlier try has left.
    begin.cmd("UNLINK").arg(key).ignore();
    shared.link.pipeline::<()>(&begin).await?;
    let mut rest = batches;
    while !rest.is_empty() {
        let mut bytes = 0;
        let within = |batch: &&&StoredBatch| {
            let room = bytes < AT_ONCE;
            bytes += batch.record.len();
            room
        };
        let (part, others) = rest.split_at(rest.iter().take_while(within).count());
        let mut transaction = Pipeline::new();
        transaction.atomic();
        for batch in part {
            transaction
                .cmd("XADD")
                .arg(key)
                .arg(format!("{}-0", batch.last))
                .arg("b")
                .arg(&batch.record)
                .ignore();
        }
        transaction.cmd("PEXPIRE").arg(key).arg(KEEP_STAGED_MS).ignore();
        shared.link.pipeline::<()>(&transaction).await?;
        rest = others;
    }
    Ok(())
}
