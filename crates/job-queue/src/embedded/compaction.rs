//! Frees the space of settled jobs.
//!
//! Segments are deleted oldest first, and none before an older one, so that a settling is never deleted before its job. The
//! oldest segment is deleted when it has no unsettled job, or so few that moving them is cheaper.

use std::sync::Arc;

use journal::{Position, ReadError};
use tokenwire_core::QueueError;
use tokio::{sync::oneshot, task::spawn_blocking};

use super::{
    Shared,
    records::{Change, Record, Ticket},
};

/// Jobs are moved out of a segment if they take at most this part of it: each moved byte frees at least three.
const MOVE_BELOW: u64 = 4;

pub(super) async fn compact(shared: &Arc<Shared>) -> Result<(), QueueError> {
    for segment in shared.journal.segments() {
        if segment.active {
            break;
        }
        let living = shared.pending.in_segment(segment.id);
        let bytes: u64 = living.iter().map(|(_, at)| u64::from(at.length)).sum();
        if bytes * MOVE_BELOW > u64::from(segment.bytes) {
            break;
        }
        move_out(shared, living).await?;
        tracing::info!(segment = segment.id, "deleting a segment of the job queue that is no longer needed");
        let removing = Arc::clone(shared);
        let removed = spawn_blocking(move || removing.journal.remove(segment.id)).await;
        removed.map_err(QueueError::unavailable)?.map_err(QueueError::unavailable)?;
    }
    Ok(())
}

/// Stores jobs again at the end of the journal, under their tickets, so that they keep their order.
async fn move_out(shared: &Arc<Shared>, jobs: Vec<(Ticket, Position)>) -> Result<(), QueueError> {
    for (ticket, at) in jobs {
        let payload = match shared.read(at).await {
            Ok(payload) => payload,
            Err(error @ (ReadError::Gone { .. } | ReadError::Damaged { .. })) => {
                tracing::error!(%error, "a job is lost; its generation will fail at its deadline");
                shared.pending.settled(ticket);
                continue;
            }
            Err(error @ ReadError::Io { .. }) => return Err(QueueError::unavailable(error)),
        };
        let room = shared.reserve(payload.len()).await?;
        let pending = Arc::clone(&shared.pending);
        let (lives, moved) = oneshot::channel();
        shared
            .commit(room, payload, move |committed| {
                let _ = lives.send(committed.as_ref().is_ok_and(|at| pending.moved(ticket, *at)));
            })
            .await?;
        if !moved.await.unwrap_or(true) {
            // Settled meanwhile: write it again after the copy. If that fails, the job comes back once. Its stream is
            // sealed (I5).
            let payload = Record { ticket, change: Change::Settled }.encode();
            let room = shared.reserve(payload.len()).await?;
            shared.commit(room, payload, |_| {}).await?;
        }
    }
    Ok(())
}
