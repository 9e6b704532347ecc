//! A lease on a job of the embedded queue.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokenwire_core::{QueueError, job_queue::LeaseHandle};

use super::{
    Shared,
    records::{Change, Record, Ticket},
};

/// When a job is delivered again whose settling could not be written, for example to a full disk. Its stream is sealed by
/// then.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// A taken job. Dropping it returns the job to the front.
pub(super) struct EmbeddedLease {
    shared: Arc<Shared>,
    ticket: Ticket,
    /// Whether the job is settled or returned already.
    given_up: bool,
}

impl EmbeddedLease {
    pub(super) fn new(shared: Arc<Shared>, ticket: Ticket) -> Self {
        Self { shared, ticket, given_up: false }
    }

    /// Returns the job after this time.
    pub(super) fn give_back(mut self, after: Duration) {
        self.given_up = true;
        self.shared.pending.give_back(self.ticket, after);
    }

    /// Removes a job that cannot be read.
    pub(super) fn forget(mut self) {
        self.given_up = true;
        self.shared.pending.settled(self.ticket);
    }
}

#[async_trait]
impl LeaseHandle for EmbeddedLease {
    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        let payload = Record { ticket: self.ticket, change: Change::Settled }.encode();
        let room = self.shared.reserve(payload.len()).await?;
        // From here on the outcome of the record decides, even if this future is dropped.
        self.given_up = true;
        let (ticket, pending) = (self.ticket, Arc::clone(&self.shared.pending));
        self.shared
            .commit(room, payload, move |committed| match committed {
                Ok(_) => pending.settled(ticket),
                Err(_) => pending.give_back(ticket, SETTLE_AGAIN),
            })
            .await
    }

    async fn retry(self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        self.give_back(after);
        Ok(())
    }
}

impl Drop for EmbeddedLease {
    fn drop(&mut self) {
        if !self.given_up {
            self.shared.pending.give_back(self.ticket, Duration::ZERO);
        }
    }
}

impl fmt::Debug for EmbeddedLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLease").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
