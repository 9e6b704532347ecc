//! Gives back the space of settled jobs.
//!
//! Segments go oldest first, and none before an older one: a settling never goes before what it settles. The oldest one
//! goes when nothing in it lives, or when so little does that it is cheaper to move it.

use std::sync::Arc;

use journal::{Position, ReadError};
use tokenwire_core::QueueError;
use tokio::{sync::oneshot, task::spawn_blocking};

use super::{
    Shared,
    records::{Change, Record, Ticket},
};

/// Jobs move out of a segment of which they take no more than this part: each byte that moves frees at least three.
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
        tracing::info!(
            segment = segment.id,
            "giving back a part of the job queue that nobody needs any more"
        );
        let removing = Arc::clone(shared);
        let removed = spawn_blocking(move || removing.journal.remove(segment.id)).await;
        removed.map_err(QueueError::unavailable)?.map_err(QueueError::unavailable)?;
    }
    Ok(())
}

/// Stores jobs again, at the end of the journal, under their tickets: they keep their place in the order.
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
            // Settled on the way: say it again behind the copy. Should that not be written any more, the job comes back
            // once, to find its stream sealed (I5).
            let payload = Record { ticket, change: Change::Settled }.encode();
            let room = shared.reserve(payload.len()).await?;
            shared.commit(room, payload, |_| {}).await?;
        }
    }
    Ok(())
}
