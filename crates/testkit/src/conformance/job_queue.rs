//! The promises of [`JobQueue`].

mod retrying;
mod storing;
mod working;

use std::{any::Any, fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokenwire_core::{Conversation, Epoch, GenerateRequest, GenerationId, Job, JobQueue, Lease, ModelName};
use tokio::time::timeout;

pub use self::{retrying::*, storing::*, working::*};

/// Makes a test of every promise of [`JobQueue`]: `job_queue_conformance!(real rabbitmq);` calls `rabbitmq()` for the
/// fixture of each. See [`crate::conformance`] for `real` and `paused`.
#[macro_export]
macro_rules! job_queue_conformance {
    ($time:ident $fixture:ident) => {
        $crate::__cases! { $time $fixture in $crate::conformance::job_queue {
            a_job_comes_out_as_it_went_in
            jobs_come_in_order_of_arrival
            a_job_that_is_stored_twice_comes_twice
            waiting_ends_when_a_job_arrives
            a_working_queue_is_ready
            what_waits_is_counted_until_it_is_leased
            what_waits_is_counted_after_a_reopen
            jobs_are_still_there_after_a_reopen
            a_leased_job_belongs_to_one_worker
            an_acknowledged_job_never_comes_back
            a_dropped_lease_gives_its_job_back
            a_dropped_wait_loses_no_job
            workers_do_every_job_once_when_nothing_fails
            a_queue_that_gives_up_on_nothing_has_no_dead_letters
            a_retried_job_comes_back_no_sooner_than_asked
            jobs_that_wait_for_their_retry_hold_up_no_other
            a_job_may_be_retried_any_number_of_times
            a_retried_job_reaches_the_worker_who_is_left
        }}
    };
}

/// More than anything here takes, on a machine however busy. Where it runs out, something hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long a queue gets to deliver what it should not. Too short a time hides a fault; it never makes one up.
const GLIMPSE: Duration = Duration::from_millis(300);

/// An empty queue to be tested, and what belongs to it. It lets at least eight jobs be leased at once.
pub struct Fixture {
    queue: Arc<dyn JobQueue>,
    elsewhere: Arc<dyn JobQueue>,
    reopen: Option<Reopen>,
    /// Dropped after the queues.
    kept: Vec<Box<dyn Any + Send>>,
}

type Reopen = Box<dyn FnMut() -> BoxFuture<'static, Arc<dyn JobQueue>> + Send>;

impl Fixture {
    /// Tests this queue.
    pub fn new(queue: Arc<dyn JobQueue>) -> Self {
        Self { elsewhere: Arc::clone(&queue), queue, reopen: None, kept: Vec::new() }
    }

    /// The same queue as another process has it open.
    #[must_use]
    pub fn elsewhere(mut self, queue: Arc<dyn JobQueue>) -> Self {
        self.elsewhere = queue;
        self
    }

    /// How to open the queue again once every `Arc` of it has been dropped. Without it, a reopened queue is the same one.
    #[must_use]
    pub fn reopening(
        mut self,
        reopen: impl FnMut() -> BoxFuture<'static, Arc<dyn JobQueue>> + Send + 'static,
    ) -> Self {
        self.reopen = Some(Box::new(reopen));
        self
    }

    /// Keeps something, such as a temporary directory, for as long as the test runs.
    #[must_use]
    pub fn keeping(mut self, kept: impl Any + Send) -> Self {
        self.kept.push(Box::new(kept));
        self
    }

    async fn reopen(self) -> Self {
        let Self { queue, elsewhere, reopen, kept } = self;
        let Some(mut reopen) = reopen else {
            return Self { queue, elsewhere, reopen, kept };
        };
        drop((queue, elsewhere));
        let queue = reopen().await;
        Self { elsewhere: Arc::clone(&queue), queue, reopen: Some(reopen), kept }
    }

    /// Stores jobs with these prompts, in this order.
    async fn store(&self, prompts: &[&str]) -> Vec<Job> {
        let jobs: Vec<_> = prompts.iter().map(|prompt| job(prompt)).collect();
        for job in &jobs {
            self.queue.enqueue(job).await.unwrap();
        }
        jobs
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("queue", &self.queue).finish_non_exhaustive()
    }
}

fn job(prompt: &str) -> Job {
    Job {
        id: GenerationId::fresh(),
        request: Some(GenerateRequest::new(
            ModelName::new("org/model-1.5:q4").unwrap(),
            Conversation::of(prompt).unwrap(),
        )),
        epoch: Some(Epoch::new(1_900_000_000_123)),
    }
}

async fn lease(queue: &dyn JobQueue) -> Lease {
    timeout(TIMEOUT, queue.lease()).await.expect("there is a job").unwrap()
}

async fn assert_nothing_to_lease(queue: &dyn JobQueue) {
    let leased = timeout(GLIMPSE, queue.lease()).await;
    assert!(leased.is_err(), "there should be no job: {leased:?}");
}
