//! The jobs that run in this process, by their generation.
//!
//! A broker that has lost sight of this process, or a queue in which a job was stored twice, delivers a job that runs here
//! already. Such a copy needs no slot and does not wait: it takes the place of the lease that was held before, which is
//! settled at once. The newest delivery is the one that is surely valid.

use std::{
    collections::{HashMap, hash_map},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{clock::Timestamp, id::GenerationId, job::Job, job_queue::Lease};

/// Every job that runs here.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnJobs(Arc<Mutex<HashMap<GenerationId, Held>>>);

#[derive(Debug)]
struct Held {
    expires_at: Option<Timestamp>,
    lease: Lease,
}

/// What became of a lease.
pub(super) enum Taken {
    /// Nobody here runs its job yet.
    New(OwnJob),
    /// Its job runs here. The lease that was held for it before is to be acknowledged: there are two for one job.
    Copy { before: Lease },
}

/// One job that runs here, until this is dropped: then its lease is dropped too.
#[derive(Debug)]
pub(super) struct OwnJob {
    pub(super) job: Job,
    held: Holder,
}

#[derive(Debug)]
enum Holder {
    /// In the table, where a copy finds it.
    Table(OwnJobs),
    /// Its id is taken by the job of another stream: one of the two is out of date, and finds out.
    Alone(Option<Lease>),
}

impl OwnJobs {
    pub(super) fn take(&self, lease: Lease) -> Taken {
        let job = lease.job().clone();
        match self.lock().entry(job.id) {
            hash_map::Entry::Vacant(free) => {
                free.insert(Held { expires_at: job.expires_at, lease });
            }
            hash_map::Entry::Occupied(mut running) if running.get().expires_at == job.expires_at => {
                return Taken::Copy { before: std::mem::replace(&mut running.get_mut().lease, lease) };
            }
            hash_map::Entry::Occupied(_) => {
                return Taken::New(OwnJob { job, held: Holder::Alone(Some(lease)) });
            }
        }
        Taken::New(OwnJob { job, held: Holder::Table(self.clone()) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GenerationId, Held>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OwnJob {
    /// The lease to settle. From here on a copy of the job is a new one.
    pub(super) fn into_lease(mut self) -> Option<Lease> {
        self.take_lease()
    }

    fn take_lease(&mut self) -> Option<Lease> {
        match &mut self.held {
            Holder::Table(table) => table.lock().remove(&self.job.id).map(|held| held.lease),
            Holder::Alone(lease) => lease.take(),
        }
    }
}

impl Drop for OwnJob {
    fn drop(&mut self) {
        // Dropped unsettled, it gives its job back.
        drop(self.take_lease());
    }
}
