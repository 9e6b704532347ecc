//! A lease on a job of the embedded queue.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokenwire_core::{QueueError, job_queue::LeaseHandle};

use super::{
    Shared,
    records::{Change, Record, Ticket},
};

/// How long a job stays away whose settling could not be written down: it comes back to find its stream sealed, and need
/// not ask a full disk in a loop.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// A job that was taken. Dropped, it gives the job back to the front.
pub(super) struct EmbeddedLease {
    shared: Arc<Shared>,
    ticket: Ticket,
    /// Whether somebody else decides what becomes of the job.
    given_up: bool,
}

impl EmbeddedLease {
    pub(super) fn new(shared: Arc<Shared>, ticket: Ticket) -> Self {
        Self { shared, ticket, given_up: false }
    }

    /// Gives the job back, after a while.
    pub(super) fn give_back(mut self, after: Duration) {
        self.given_up = true;
        self.shared.pending.give_back(self.ticket, after);
    }

    /// The job is none: nobody gets it any more.
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
        // From here on the outcome decides, whether or not this future is still there.
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
