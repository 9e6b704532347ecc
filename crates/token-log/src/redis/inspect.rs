//! Looks at one stream for people.

use std::time::Duration;

use ::redis::Pipeline;
use tokenwire_core::{
    Attempt, Fingerprint, GenerationId, LogError, Timestamp,
    token_log::{OnDisconnect, StreamSpec},
};

use super::{
    Shared,
    page::{self, Damage, META, Meta, Time},
};
use crate::{Inspection, record::Batch};

/// `fingerprint`, `grace`, `cancelled`.
type Rest = (Option<Vec<u8>>, Option<u64>, Option<u8>);

pub(super) async fn inspect(shared: &Shared, id: GenerationId) -> Result<Inspection, LogError> {
    let keys = shared.keys(id);
    let mut transaction = Pipeline::new();
    transaction.atomic().cmd("HMGET").arg(&keys.meta).arg(&META).cmd("TIME").cmd("HMGET").arg(&keys.meta);
    transaction.arg(&["fingerprint", "grace", "cancelled"]);
    let (meta, now, rest): (Meta, Time, Rest) =
        shared.link.pipeline(&transaction).await.map_err(|outage| outage.about(id))?;
    let (_, attempt, _, _, created_at, start_by, end_by, _) = meta;
    let (tail, phase) =
        page::standing(meta, now).map_err(LogError::unavailable)?.ok_or(LogError::NotFound(id))?;
    let (fingerprint, grace, cancelled) = rest;
    let spec = || {
        Some(StreamSpec {
            fingerprint: Fingerprint::from_bytes(fingerprint?.try_into().ok()?),
            on_disconnect: grace.map_or(OnDisconnect::Detached, |grace| {
                OnDisconnect::CancelAfter(Duration::from_millis(grace))
            }),
            created_at: Timestamp::from_millis(created_at?),
            start_by: Timestamp::from_millis(start_by?),
            end_by: Timestamp::from_millis(end_by?),
        })
    };
    let spec = spec().ok_or_else(|| LogError::unavailable(Damage::Meta))?;

    // Entries are never changed: the first of them are the same, whoever goes on meanwhile.
    let (_, stored) = page::prefix(&shared.link, &keys, id, tail).await?;
    let mut entries = Vec::new();
    for batch in &stored {
        entries.extend(Batch::decode(&batch.record).map_err(LogError::unavailable)?.into_entries());
    }
    Ok(Inspection {
        spec,
        attempt: Attempt::new(attempt.unwrap_or_default()),
        phase,
        cancelled: cancelled.is_some(),
        entries,
        batches: stored.len(),
        stored_bytes: stored.iter().map(|batch| batch.record.len() as u64).sum(),
    })
}
