//! I11: what happens to a process, a dependency or a deployment costs a generation time, and nothing else.

mod crashes;
mod lost_jobs;
mod outages;
mod waiting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use job_queue::memory::MemoryQueue;
use testkit::wrapped::{Queue, QueueHooks};
use tokenwire_core::{
    Caller, CancelCause, Clock, Event, Failure, Follower, GenerationId, Job, JobQueue, Lease, QueueError,
    Seq, Timestamp,
    follow::Update,
    generations::{Submission, Submitted},
    job_queue::LeaseHandle,
    model::Continuation,
    token_log::{JobClaim, OnDisconnect, Phase},
    worker::Config,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    house::{House, QUEUE_TIME, RUN_TIME, events, request, text},
    outage::Outage,
    script::{Script, Step},
};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config { run_time: RUN_TIME, ..Config::default() }
}

/// Waits until the model was asked so often.
async fn asked(script: &Script, times: usize) {
    while script.asked() < times {
        sleep(Duration::from_millis(10)).await;
    }
}

impl House {
    /// As SIGTERM and the end of the drain time do; another worker can be started after it.
    async fn restart_workers(&mut self) {
        self.soft.cancel();
        self.hard.cancel();
        self.drained().await;
        self.soft = CancellationToken::new();
        self.hard = CancellationToken::new();
    }
}

fn failure(entries: &[tokenwire_core::Entry]) -> Option<&Failure> {
    match &entries.last()?.event {
        Event::Failed { failure } => Some(failure),
        _ => None,
    }
}
