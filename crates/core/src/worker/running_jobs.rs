//! The jobs that run in this process, by their generation.
//!
//! A broker that has lost sight of this process, or a queue in which a job was stored twice, delivers a job that runs here
//! already. Such a duplicate needs no slot and does not wait: it takes the place of the lease that was held before, which is
//! settled at once. The newest delivery is the one that is surely valid.

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

/// What to do with a job that was leased.
pub(super) enum Admitted {
    /// Its job does not run here yet.
    New(RunningJob),
    /// Its job runs here. The lease that was held for it before is to be acknowledged: there are two for one job.
    Duplicate { earlier: Lease },
}

/// One job that runs here, until this is dropped: then its lease is dropped too.
#[derive(Debug)]
pub(super) struct RunningJob {
    pub(super) job: Job,
    place: LeasePlace,
}

#[derive(Debug)]
enum LeasePlace {
    /// In the table, where a duplicate finds it.
    Table(RunningJobs),
    /// Its id is taken by the job of another stream: one of the two is out of date, and finds out.
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
    /// The lease to settle. From here on a copy of the job is a new one.
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
        // Dropped unsettled, it gives its job back.
        drop(self.take_lease());
    }
}
