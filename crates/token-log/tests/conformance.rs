//! Every adapter keeps every promise of the port.

use std::{path::Path, sync::Arc, time::Duration};

use testkit::conformance::token_log::Fixture;
use token_log::{
    embedded::{Config, Embedded},
    memory::MemoryLog,
};
use tokenwire_core::{SystemClock, TokenLog};

const RETENTION: Duration = Duration::from_secs(3600);

async fn memory() -> Fixture {
    Fixture::new(Arc::new(MemoryLog::new(Arc::new(SystemClock), RETENTION)))
}

testkit::token_log_conformance!(paused memory);

async fn embedded() -> Fixture {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().to_owned();
    Fixture::new(open(&path))
        .reopening(move || {
            let log = open(&path);
            Box::pin(async { log })
        })
        .keeping(dir)
}

fn open(dir: &Path) -> Arc<dyn TokenLog> {
    // Small segments, so that every promise is kept across some.
    let config = Config { segment_bytes: 2048, ..Config::default() };
    Arc::new(Embedded::open(dir, config, Arc::new(SystemClock)).expect("an empty or whole log opens"))
}

testkit::token_log_conformance!(real embedded);
