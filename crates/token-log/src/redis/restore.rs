//! Writing a stream again that the server has lost, from what its writer remembers.
//!
//! A server that comes back empty, or as it was some time ago, has forgotten what it had answered, and readers have seen it.
//! While the writer lives nothing else is lost: it keeps all of its stream as it was stored, and puts the same entries back
//! under the same seqs (I1, I2). The batches go into a key of their own, in pieces that do not hold up the server; one script
//! then judges whether the stream is still this writer's, and shows all of it at once.
//!
//! It is not restored when a newer attempt has opened it, or has gone on with what was left of it (I3), when it is sealed,
//! and when it was removed on purpose: [`tokenwire_core::TokenLog::remove`] leaves word for a writer that may live, one that
//! was frozen or cut off while its owner asked for the answer to be gone. Of a stream that no attempt has opened, nobody
//! remembers anything.
//!
//! Not here: a stream whose writer is gone as well. Nobody knows it any more, and its readers are told so.

use std::{fmt, time::Duration};

use ::redis::Pipeline;
use tokenwire_core::{
    Attempt, CancelCause, Seq, Timestamp,
    token_log::{Attempts, PRESENCE_TTL},
};

use super::{Shared, attempts, keys::Keys, millis, outage::Outage, page::StoredBatch};

/// How much is staged with one command, in bytes, up to one batch more: some milliseconds of the server's time.
const AT_ONCE: usize = 1024 * 1024;

/// How long staged batches are kept. Only a writer that died while it staged them leaves any behind.
const KEEP_STAGED_MS: u64 = 60_000;

/// A stream as the server has taken it, from this writer and from those before it.
///
/// It holds no more than the answer does, in its stored form, the metadata and the request, for as long as the answer is written;
/// what bounds the answer (the model's limit of tokens), the metadata and the request bounds this.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) fixed: Fixed,
    pub(super) batches: Vec<StoredBatch>,
    /// What the attempts came to, as it was noted last.
    pub(super) attempts: Attempts,
}

/// What was fixed about the stream when it was created, as the server keeps it.
pub(super) struct Fixed {
    pub(super) fingerprint: Vec<u8>,
    pub(super) created_at: u64,
    pub(super) start_by: u64,
    pub(super) end_by: u64,
    /// In milliseconds; empty when the stream is detached.
    pub(super) grace: String,
    pub(super) metadata: Vec<u8>,
    pub(super) request: Vec<u8>,
    /// Empty when the caller is anonymous.
    pub(super) caller: String,
}

/// Without metadata and request, which are private.
impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixed").field("created_at", &self.created_at).finish_non_exhaustive()
    }
}

/// Who restores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) token: &'a str,
    pub(super) attempt: Attempt,
    /// What it was told before the loss.
    pub(super) told_to_stop: Option<CancelCause>,
    /// How long it keeps the stream after its end.
    pub(super) retention: Duration,
}

impl Memory {
    /// The last entry that the server is known to have taken.
    pub(super) fn last_seq(&self) -> Seq {
        self.batches.last().map_or(Seq::START, |batch| batch.last)
    }

    /// Puts the stream back, and after it the batch of which nobody knows whether the server ever took it: readers may have
    /// seen it. May be dropped and called again.
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
    // What an earlier try that was given up has left.
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
        let (piece, others) = rest.split_at(rest.iter().take_while(within).count());
        let mut transaction = Pipeline::new();
        transaction.atomic();
        for batch in piece {
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
