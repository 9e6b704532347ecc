//! Every adapter keeps every promise of the port.

use std::sync::Arc;

use job_queue::memory::MemoryQueue;
use testkit::conformance::job_queue::Fixture;

async fn memory() -> Fixture {
    Fixture::new(Arc::new(MemoryQueue::default()))
}

testkit::job_queue_conformance!(paused memory);
