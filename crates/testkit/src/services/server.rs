//! What all servers share: start, faults, and restart in the same place.

use std::{
    fmt,
    process::Command,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{Guarded, unblock, wait_until};

/// More than the slowest of them needs on a busy machine.
pub(super) const TIMEOUT: Duration = Duration::from_secs(120);

/// How to start a server.
pub(super) trait Recipe: fmt::Debug + Send + Sync + 'static {
    /// The command. The same files and the same port every time.
    fn command(&self) -> Command;

    /// Whether this server is up. Another one may have taken the port.
    fn is_up(&self, server: &Guarded) -> bool;
}

/// A server, up or down, and its directory.
#[derive(Clone, Debug)]
pub(super) struct Server {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    recipe: Box<dyn Recipe>,
    /// None while it is down.
    running: Mutex<Option<Guarded>>,
    /// Last, so that it is removed after the server has gone.
    directory: TempDir,
}

impl Server {
    /// Starts a server and waits until it answers. Blocks. None when it ended instead.
    pub(super) fn start(recipe: impl Recipe, directory: TempDir) -> Option<Self> {
        let inner = Inner { recipe: Box::new(recipe), running: Mutex::new(None), directory };
        inner.launch().then(|| Self { inner: Arc::new(inner) })
    }

    /// Ends it at once, and waits until it is gone.
    pub(super) async fn kill(&self) {
        let running = self.take();
        unblock(|| running.kill()).await;
    }

    /// Asks it to end, and waits until it has.
    pub(super) async fn stop(&self) {
        let running = self.take();
        unblock(|| running.stop(TIMEOUT)).await;
    }

    /// Starts it again with the same files, and waits until it answers.
    pub(super) async fn restart(&self) {
        let inner = Arc::clone(&self.inner);
        unblock(move || {
            assert!(inner.lock().is_none(), "kill or stop the server before it is started again");
            assert!(inner.launch(), "the server did not come up again");
        })
        .await;
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.inner.lock().as_ref().expect("the server is up").signal(signal);
    }

    /// Its process id, while it is up.
    pub(super) fn pid(&self) -> u32 {
        self.inner.lock().as_ref().expect("the server is up").pid()
    }

    fn take(&self) -> Guarded {
        self.inner.lock().take().expect("the server is up")
    }
}

impl Inner {
    fn launch(&self) -> bool {
        let mut running = Guarded::spawn(&self.recipe.command(), self.directory.path());
        let mut ended = false;
        let in_time = wait_until(TIMEOUT, || {
            ended = running.has_ended();
            ended || self.recipe.is_up(&running)
        });
        assert!(in_time, "a server does not answer; it says: {}", running.output());
        if !ended {
            *self.lock() = Some(running);
        }
        !ended
    }

    fn lock(&self) -> MutexGuard<'_, Option<Guarded>> {
        self.running.lock().expect("nothing panics while it holds the lock")
    }
}
