//! Reads one stream for `tokenwire inspect`.

use ::redis::Pipeline;
use tokenwire_core::{Attempt, GenerationId, LogError};

use super::{
    Shared,
    page::{self, Damage, META, Meta, Standing, Time},
    spec::{self, FIELDS, Fields, METADATA},
};
use crate::{Inspection, record::Batch};

pub(super) async fn inspect(shared: &Shared, id: GenerationId) -> Result<Inspection, LogError> {
    let keys = shared.keys(id);
    let mut transaction = Pipeline::new();
    transaction.atomic().cmd("HMGET").arg(&keys.meta).arg(&META).cmd("TIME");
    transaction.cmd("HMGET").arg(&keys.meta).arg(&FIELDS).cmd("HSTRLEN").arg(&keys.meta).arg(METADATA);
    transaction.cmd("HEXISTS").arg(&keys.meta).arg("cancelled");
    let (meta, now, fixed, metadata_bytes, cancelled): (Meta, Time, Fields, usize, bool) =
        shared.link.pipeline(&transaction).await.map_err(|outage| outage.about(id))?;
    let attempt = meta.1;
    let Standing { last_seq, phase, .. } = page::standing(meta, now)?.ok_or(LogError::NotFound(id))?;
    let spec = spec::spec(fixed)?.ok_or(LogError::NotFound(id))?;

    // Entries never change, so a concurrent append does no harm.
    let (_, stored) = page::prefix(&shared.link, &keys, id, last_seq).await?;
    let mut entries = Vec::new();
    for batch in &stored {
        entries.extend(Batch::decode(&batch.record).map_err(Damage::from)?.into_entries());
    }
    Ok(Inspection {
        spec,
        metadata_bytes,
        attempt: Attempt::new(attempt.unwrap_or_default()),
        phase,
        cancelled,
        entries,
        batches: stored.len(),
        stored_bytes: stored.iter().map(|batch| batch.record.len() as u64).sum(),
    })
}
