//! How a process ends.
//!
//! The first SIGTERM or SIGINT fires the *soft* token: nothing new begins, what runs may finish. A second signal, or the
//! end of the drain time, fires the *hard* token: what still runs is dropped, and goes on elsewhere or after the restart.
//! A task that ends on its own begins the same, and the exit code says so.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// After the hard stop, tasks get this time for destructors and last flushes.
const HARD_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The tasks of a process, and the two tokens that end them.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    pub(crate) soft: CancellationToken,
    pub(crate) hard: CancellationToken,
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    signals: Signals,
}

#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Lifecycle {
    /// Listens for signals from now on.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let signals = Signals {
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
        };
        Ok(Self {
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            tasks: JoinSet::new(),
            signals,
        })
    }

    /// Runs a part of the process. It must end after the soft token, or at the latest after the hard one, and not before.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { (name, part.await) });
    }

    /// Runs until the process should end, then drains for at most `drain`. Returns the exit code.
    pub(crate) async fn run(mut self, drain: Duration) -> ExitCode {
        let mut code = tokio::select! {
            signal = self.signals.next() => {
                tracing::info!(signal, ?drain, "draining; send a second signal to stop now");
                ExitCode::SUCCESS
            }
            Some(ended) = self.tasks.join_next() => {
                report(ended, "ended unexpectedly");
                ExitCode::FAILURE
            }
        };
        self.soft.cancel();
        let insist = async {
            tokio::select! {
                _ = self.signals.next() => tracing::warn!("second signal: stopping now"),
                () = sleep(drain) => tracing::info!("drain time is over: returning running jobs to the queue"),
            }
        };
        let failed = tokio::select! {
            failed = finish(&mut self.tasks) => failed,
            () = insist => {
                self.hard.cancel();
                timeout(HARD_STOP_TIMEOUT, finish(&mut self.tasks)).await.unwrap_or(true)
            }
        };
        if failed {
            code = ExitCode::FAILURE;
        }
        tracing::info!("stopped");
        code
    }
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

type Ended = Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>;

/// Waits for all tasks; true when one failed.
async fn finish(tasks: &mut JoinSet<(&'static str, anyhow::Result<()>)>) -> bool {
    let mut failed = false;
    while let Some(ended) = tasks.join_next().await {
        failed |= !matches!(ended, Ok((_, Ok(()))));
        report(ended, "ended");
    }
    failed
}

fn report(ended: Ended, how: &str) {
    match ended {
        Ok((name, Ok(()))) => tracing::debug!("{name} {how}"),
        Ok((name, Err(error))) => tracing::error!("{name} {how}: {error:#}"),
        Err(error) => tracing::error!(%error, "a task {how}"),
    }
}
