//! What is this adapter's own: that it comes back from whatever happened to its process and its files, and gives space
//! back.

mod restart;
mod space;
mod undecodable;

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use journal::{Journal, Medium, Sync};
use tempfile::TempDir;
use tokenwire_core::{
    Conversation, Epoch, GenerateRequest, GenerationId, Job, JobQueue, Lease, ModelName, QueueError,
};
use tokio::time::timeout;

use super::{
    Config, Embedded,
    records::{Change, Record, Ticket},
};

/// Small segments, so that every test crosses some.
const SMALL: Config = Config { sync: Sync::Os, segment_bytes: 1024 };

/// A disk that never waits: tests end processes, not the power.
#[derive(Debug)]
struct QuickDisk;

impl Medium for QuickDisk {
    fn flush(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn flush_names(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

fn open(dir: &Path) -> Embedded {
    Embedded::open_on(Arc::new(QuickDisk), dir, SMALL).unwrap()
}

/// A job with this prompt, which identifies it.
fn job(number: usize) -> Job {
    let request = GenerateRequest::new(
        ModelName::new("simulated").unwrap(),
        Conversation::of(number.to_string()).unwrap(),
    );
    let (request, epoch) = (Some(request), Some(Epoch::new(1_763_800_000_123)));
    Job { id: GenerationId::fresh(), request, epoch }
}

async fn enqueue(queue: &Embedded, count: usize) -> Vec<Job> {
    let jobs: Vec<_> = (0..count).map(job).collect();
    for job in &jobs {
        queue.enqueue(job).await.unwrap();
    }
    jobs
}

async fn lease(queue: &Embedded) -> Lease {
    timeout(Duration::from_secs(10), queue.lease()).await.expect("there is a job").unwrap()
}

/// Takes everything that waits now, as a worker that never settles.
async fn waiting(queue: &Embedded) -> Vec<Job> {
    let mark = job(usize::MAX);
    queue.enqueue(&mark).await.unwrap();
    let mut leases = Vec::new();
    let mut jobs = Vec::new();
    loop {
        let next = lease(queue).await;
        if next.job().id == mark.id {
            next.ack().await.unwrap();
            return jobs;
        }
        jobs.push(next.job().clone());
        leases.push(next);
    }
}

fn is_unavailable<T>(result: &Result<T, QueueError>) -> bool {
    matches!(result, Err(QueueError::Unavailable(_)))
}
