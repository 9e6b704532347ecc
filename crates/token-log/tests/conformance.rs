//! Every adapter keeps every promise of the port.

use std::{sync::Arc, time::Duration};

use testkit::conformance::token_log::Fixture;
use token_log::memory::MemoryLog;
use tokenwire_core::SystemClock;

const RETENTION: Duration = Duration::from_secs(3600);

async fn memory() -> Fixture {
    Fixture::new(Arc::new(MemoryLog::new(Arc::new(SystemClock), RETENTION)))
}

testkit::token_log_conformance!(paused memory);
