//! Reads a stream in one transaction, so that entries, last seq and phase are consistent.

use std::{num::NonZeroUsize, time::Duration};

use ::redis::Pipeline;
use tokenwire_core::{
    Entry, Epoch, GenerationId, LogError, Seq, Timestamp,
    token_log::{Page, Phase, Prefix, WRITER_TIMEOUT},
};
use tokio::time::Instant;

use super::{
    attempts::{self, ATTEMPTS},
    connection::Link,
    keys::Keys,
};
use crate::record::{Batch, DecodeError};

/// The stored format of this version: the field `v` of the meta hash.
pub(super) const FORMAT: u32 = 1;

/// How many batches of earlier attempts are read at once.
const PREFIX_PAGE: usize = 512;

/// When a damaged stream is read again while its writer may restore it.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The fields of [`Meta`].
pub(super) const META: [&str; 9] =
    ["v", "attempt", "tail", "sealed", "created_at", "start_by", "end_by", "heard", ATTEMPTS];

/// The state of a stream in its meta hash.
pub(super) type Meta = (
    Option<u32>,
    Option<u32>,
    Option<u64>,
    Option<u8>,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    Option<String>,
);

/// The server's clock: seconds, and microseconds of the second.
pub(super) type Time = (u64, u64);

/// Stored batches: the id, and the one field.
type Batches = Vec<(String, (String, Vec<u8>))>;

/// One stored batch.
#[derive(Clone, Debug)]
pub(super) struct StoredBatch {
    /// The seq of its last entry, which is its key.
    pub(super) last: Seq,
    pub(super) record: Vec<u8>,
}

/// The state of a stream.
pub(super) struct Standing {
    pub(super) last_seq: Seq,
    pub(super) phase: Phase,
    /// Tells it from other streams of its id.
    pub(super) epoch: Epoch,
}

/// Why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("the stream has format {0}, this version of tokenwire knows {FORMAT}: upgrade")]
    Format(u32),
    #[error("a field of the stream is missing or invalid")]
    Meta,
    #[error("entry {0} is missing: redis has lost or evicted it (its maxmemory-policy has to be noeviction)")]
    Missing(Seq),
    #[error(transparent)]
    Record(#[from] DecodeError),
}

/// A newer format is no damage: a process of that version can read the stream.
impl From<Damage> for LogError {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::Format(_) | Damage::Record(DecodeError::Version(_) | DecodeError::Event(_)) => {
                Self::unavailable(damage)
            }
            Damage::Meta | Damage::Missing(_) | Damage::Record(_) => Self::damaged(damage),
        }
    }
}

/// Reads the entries after the cursor, and the state of the stream.
///
/// A damaged stream is read again for as long as a writer may restore it. A live writer checks every 0.5 s that all entries
/// exist.
pub(super) async fn read(
    link: &Link,
    keys: &Keys,
    id: GenerationId,
    after: Seq,
    limit: NonZeroUsize,
) -> Result<Page, LogError> {
    let deadline = Instant::now() + WRITER_TIMEOUT;
    loop {
        match read_once(link, keys, id, after, limit).await {
            Err(LogError::Damaged(_)) if Instant::now() < deadline && may_be_mended(link, keys).await => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}

/// Whether a live writer may restore the stream. True when that is unknown.
async fn may_be_mended(link: &Link, keys: &Keys) -> bool {
    let mut ask = Pipeline::new();
    ask.atomic().cmd("HMGET").arg(&keys.meta).arg(&META).cmd("TIME");
    match link.pipeline(&ask).await {
        Ok((meta, now)) => match standing(meta, now) {
            Ok(Some(standing)) => standing.phase.has_owner(),
            Ok(None) => false,
            Err(_) => true,
        },
        Err(outage) => outage.is_damage(),
    }
}

async fn read_once(
    link: &Link,
    keys: &Keys,
    id: GenerationId,
    after: Seq,
    limit: NonZeroUsize,
) -> Result<Page, LogError> {
    // The key of a batch is its last seq: read the batches that end within the page, and the one after them.
    let first = after.get().saturating_add(1);
    let last = after.get().saturating_add(limit.get() as u64);
    let mut transaction = Pipeline::new();
    transaction
        .atomic()
        .cmd("HMGET")
        .arg(&keys.meta)
        .arg(&META)
        .cmd("TIME")
        .cmd("XRANGE")
        .arg(&keys.entries)
        .arg(first)
        .arg(last)
        .cmd("XRANGE")
        .arg(&keys.entries)
        .arg(last.saturating_add(1))
        .arg("+")
        .arg(&["COUNT", "1"]);
    let (meta, now, within, over): (Meta, Time, Batches, Batches) =
        link.pipeline(&transaction).await.map_err(|outage| outage.about(id))?;
    let Standing { last_seq, phase, epoch } = standing(meta, now)?.ok_or(LogError::NotFound(id))?;
    let entries = entries(within.into_iter().chain(over), after, last_seq, limit)?;
    Ok(Page { entries, last_seq, phase, epoch })
}

/// Reads the whole stream for a writer that has just become its only one: as a prefix and in stored form.
pub(super) async fn prefix(
    link: &Link,
    keys: &Keys,
    id: GenerationId,
    last_seq: Seq,
) -> Result<(Prefix, Vec<StoredBatch>), LogError> {
    let mut prefix = Prefix::default();
    let mut stored = Vec::new();
    let mut cursor = Seq::START;
    while cursor < last_seq {
        let mut ask = Pipeline::new();
        // The key of a batch is its last seq, so no batch reaches beyond the end.
        ask.cmd("XRANGE").arg(&keys.entries).arg(cursor.next().get()).arg(last_seq.get());
        ask.arg("COUNT").arg(PREFIX_PAGE);
        let (page,): (Batches,) = link.pipeline(&ask).await.map_err(|outage| outage.about(id))?;
        if page.is_empty() {
            return Err(Damage::Missing(cursor.next()).into());
        }
        for (_, (_, record)) in page {
            for entry in Batch::decode(&record).map_err(Damage::from)?.into_entries() {
                if entry.seq != cursor.next() {
                    return Err(Damage::Missing(cursor.next()).into());
                }
                cursor = entry.seq;
                prefix.push(&entry);
            }
            stored.push(StoredBatch { last: cursor, record });
        }
    }
    Ok((prefix, stored))
}

/// The state of a stream. `None` when there is no stream.
pub(super) fn standing(meta: Meta, (seconds, micros): Time) -> Result<Option<Standing>, Damage> {
    let (Some(format), attempt, last_seq, sealed, created_at, start_by, end_by, heard, attempts) = meta
    else {
        return Ok(None);
    };
    if format != FORMAT {
        return Err(Damage::Format(format));
    }
    let (Some(attempt), Some(last_seq), Some(created_at), Some(start_by), Some(end_by)) =
        (attempt, last_seq, created_at, start_by, end_by)
    else {
        return Err(Damage::Meta);
    };
    let start_by = Timestamp::from_millis(start_by);
    let phase = match (sealed, attempt) {
        (Some(_), _) => Phase::Sealed,
        (None, 0) => Phase::Queued { created_at: Timestamp::from_millis(created_at), start_by },
        (None, _) => Phase::Running {
            waiting_until: attempts.and_then(|noted| attempts::decode(&noted).waiting_until),
            end_by: Timestamp::from_millis(end_by),
            silent_for: heard.map_or(Duration::MAX, |heard| {
                Duration::from_millis((seconds * 1000 + micros / 1000).saturating_sub(heard))
            }),
        },
    };
    Ok(Some(Standing { last_seq: Seq::new(last_seq), phase, epoch: Epoch::of(start_by) }))
}

/// The entries after the cursor, checked for gaps (I1).
fn entries(
    batches: impl Iterator<Item = (String, (String, Vec<u8>))>,
    after: Seq,
    last_seq: Seq,
    limit: NonZeroUsize,
) -> Result<Vec<Entry>, Damage> {
    let mut entries = Vec::new();
    let mut cursor = after;
    for (_, (_, record)) in batches {
        for entry in Batch::decode(&record)?.into_entries().skip_while(|entry| entry.seq <= after) {
            if entries.len() == limit.get() {
                return Ok(entries);
            }
            if entry.seq != cursor.next() {
                return Err(Damage::Missing(cursor.next()));
            }
            cursor = entry.seq;
            entries.push(entry);
        }
    }
    if cursor < last_seq && entries.len() < limit.get() {
        return Err(Damage::Missing(cursor.next()));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use tokenwire_core::Event;

    use super::*;

    fn stored(first: u64, count: usize) -> (String, (String, Vec<u8>)) {
        let event = Event::Delta { text: "x".into(), tokens: vec![] };
        let batch =
            Batch { first: Seq::new(first), at: Timestamp::from_millis(1), events: vec![event; count] };
        (format!("{}-0", first + count as u64 - 1), ("b".into(), batch.encode()))
    }

    fn seqs(batches: &[(u64, usize)], after: u64, last_seq: u64, limit: usize) -> Result<Vec<u64>, Damage> {
        let batches = batches.iter().map(|&(first, count)| stored(first, count));
        let limit = NonZeroUsize::new(limit).unwrap();
        let entries = entries(batches, Seq::new(after), Seq::new(last_seq), limit)?;
        Ok(entries.iter().map(|entry| entry.seq.get()).collect())
    }

    #[test]
    fn a_cursor_in_the_middle_of_a_batch_gets_its_rest() {
        assert_eq!(seqs(&[(3, 4), (7, 1)], 4, 7, 9).unwrap(), [5, 6, 7]);
        assert_eq!(seqs(&[(3, 4), (7, 1)], 4, 7, 1).unwrap(), [5]);
    }

    #[test]
    fn a_hole_is_never_shown_as_a_stream() {
        for (batches, after, last_seq) in
            [(&[(2, 1)][..], 0, 2), (&[(1, 1), (3, 1)], 0, 3), (&[(1, 1)], 0, 2), (&[], 0, 1)]
        {
            assert!(matches!(seqs(batches, after, last_seq, 9), Err(Damage::Missing(_))), "{batches:?}");
        }
    }

    #[test]
    fn a_stream_of_a_later_version_is_refused_and_not_guessed_at() {
        let later = (Some(FORMAT + 1), Some(1), Some(1), None, Some(1), Some(1), Some(1), None, None);
        assert!(matches!(standing(later, (1, 0)), Err(Damage::Format(2))));
    }
}
