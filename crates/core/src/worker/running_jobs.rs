//! The jobs that run in this process, by generation.
//!
//! A job can be delivered while it runs here: the broker lost the connection, or the job was stored twice. The new lease then
//! replaces the old one, which is acknowledged at once. It takes no slot. Only the newest delivery is certainly valid.

use std::{
    collections::{HashMap, hash_map},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{epoch::Epoch, id::GenerationId, job::Job, job_queue::Lease};

/// Every job that runs here.
#[derive(Clone, Debug, Default)]
pub(super) struct RunningJobs(Arc<Mutex<HashMap<GenerationId, LeasedJob>>>);

#[derive(Debug)]
struct LeasedJob {
    epoch: Option<Epoch>,
    lease: Lease,
}

/// What to do with a leased job.
pub(super) enum Admitted {
    /// It does not run here yet.
    New(RunningJob),
    /// It runs here. Acknowledge its earlier lease.
    Duplicate { earlier: Lease },
}

/// A job that runs here. Dropping it drops its lease.
#[derive(Debug)]
pub(super) struct RunningJob {
    pub(super) job: Job,
    place: LeasePlace,
}

#[derive(Debug)]
enum LeasePlace {
    /// In the table, where a duplicate replaces it.
    Table(RunningJobs),
    /// The table has a job of another stream with this id. One of the two is stale, and finds out.
    Here(Option<Lease>),
}

impl RunningJobs {
    pub(super) fn admit(&self, lease: Lease) -> Admitted {
        let job = lease.job().clone();
        match self.lock().entry(job.id) {
            hash_map::Entry::Vacant(free) => {
                free.insert(LeasedJob { epoch: job.epoch, lease });
            }
            hash_map::Entry::Occupied(mut running) if running.get().epoch == job.epoch => {
                return Admitted::Duplicate {
                    earlier: std::mem::replace(&mut running.get_mut().lease, lease),
                };
            }
            hash_map::Entry::Occupied(_) => {
                return Admitted::New(RunningJob { job, place: LeasePlace::Here(Some(lease)) });
            }
        }
        Admitted::New(RunningJob { job, place: LeasePlace::Table(self.clone()) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GenerationId, LeasedJob>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningJob {
    /// Takes the lease, to settle it. The next delivery of the job is not a duplicate any more.
    pub(super) fn into_lease(mut self) -> Option<Lease> {
        self.take_lease()
    }

    fn take_lease(&mut self) -> Option<Lease> {
        match &mut self.place {
            LeasePlace::Table(table) => table.lock().remove(&self.job.id).map(|leased| leased.lease),
            LeasePlace::Here(lease) => lease.take(),
        }
    }
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        // An unsettled lease returns its job.
        drop(self.take_lease());
    }
}
