//! Stops leasing while the log cannot be reached: a job leased here could not run, and no other worker could lease it.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    error::explain,
    event::Seq,
    id::GenerationId,
    retry::Backoff,
    token_log::{LogError, TokenLog},
};

#[derive(Clone, Debug)]
pub(super) struct LogGate {
    log: Arc<dyn TokenLog>,
    away: Arc<AtomicBool>,
}

impl LogGate {
    /// Closed: the log is asked before the first lease.
    pub(super) fn new(log: Arc<dyn TokenLog>) -> Self {
        Self { log, away: Arc::new(AtomicBool::new(true)) }
    }

    /// The log was unavailable.
    pub(super) fn close(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    /// Waits until the log answers. Can be dropped and called again.
    pub(super) async fn open(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let mut told = false;
        while self.away.load(Ordering::Relaxed) {
            // Reading a stream that does not exist is the cheapest call.
            let answer = self.log.read(GenerationId::fresh(), Seq::START, NonZeroUsize::MIN).await;
            if let Err(error @ LogError::Unavailable(_)) = answer {
                if !told {
                    let error = explain(&error);
                    tracing::warn!(error, "the token log cannot be reached; no jobs are leased until it can");
                    told = true;
                }
                sleep(backoff.advance()).await;
                continue;
            }
            self.away.store(false, Ordering::Relaxed);
            if told {
                tracing::info!("the token log can be reached again; leasing jobs");
            }
        }
    }
}
