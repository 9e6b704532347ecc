//! The same stage on every log.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use testkit::{clock::ManualClock, services};
use token_log::{
    embedded::{self, Embedded},
    memory::MemoryLog,
    redis,
};
use tokenwire_core::{Clock, GenerationId, Timestamp, TokenLog};

const RETENTION: Duration = Duration::from_secs(3600);

/// Longer than Redis takes to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place where a log is kept, and how to open it there.
pub(crate) struct Place {
    pub(crate) log: Arc<dyn TokenLog>,
    /// Of the log too: it stands still, so that times are what the transcripts say.
    pub(crate) clock: Arc<ManualClock>,
    /// When everything begins.
    pub(crate) began: Timestamp,
    kind: Kind,
}

enum Kind {
    Memory,
    Embedded(TempDir),
    Redis(redis::Config),
}

/// The logs that there are.
#[derive(Clone, Copy)]
pub(crate) enum Log {
    Memory,
    Embedded,
    Redis,
}

impl Place {
    /// A new one.
    pub(crate) async fn of(log: Log) -> Self {
        let kind = match log {
            Log::Memory => Kind::Memory,
            Log::Embedded => Kind::Embedded(tempfile::tempdir().unwrap()),
            Log::Redis => {
                let url = services::Redis::shared().await.url();
                let prefix = format!("test-{}", GenerationId::fresh());
                let config =
                    redis::Config { url, prefix, response_timeout: PATIENCE, ..redis::Config::default() };
                Kind::Redis(config)
            }
        };
        let clock = Arc::new(ManualClock::default());
        Self { log: kind.open(&clock), began: clock.now(), clock, kind }
    }

    /// As after a restart, or on another replica. Fails if something still has the log open.
    pub(crate) fn reopened(self) -> Self {
        if matches!(self.kind, Kind::Memory) {
            return self;
        }
        let Self { log, clock, began, kind } = self;
        assert_eq!(Arc::strong_count(&log), 1, "nothing else has it open");
        drop(log);
        Self { log: kind.open(&clock), clock, began, kind }
    }
}

impl Kind {
    fn open(&self, clock: &Arc<ManualClock>) -> Arc<dyn TokenLog> {
        let clock = Arc::clone(clock);
        match self {
            Self::Memory => Arc::new(MemoryLog::new(clock, RETENTION)),
            Self::Embedded(dir) => {
                // Small files, so that every stream lies in some.
                let config = embedded::Config { segment_bytes: 2048, ..embedded::Config::default() };
                Arc::new(Embedded::open(dir.path(), config, clock).unwrap())
            }
            Self::Redis(config) => Arc::new(redis::Redis::new(config, clock).unwrap()),
        }
    }
}
