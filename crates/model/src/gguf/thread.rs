//! Sends requests to a model's thread and receives its output.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc as std_mpsc,
    },
    task::{Context, Poll},
    thread::{self, JoinHandle},
    time::Duration,
};

use futures::Stream;
use tokenwire_core::model::{ModelError, Output};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    engine::{Engine, LINE},
    generation::Generation,
    llama::Llama,
    load::{self, LoadError, Loaded},
};

/// When to retry a model with a full queue.
const BUSY: Duration = Duration::from_secs(1);

/// A model's thread. Dropping it ends the thread, which is then idle, because streams hold this too.
#[derive(Debug)]
pub(super) struct Thread {
    /// Taken when dropped.
    running: Option<(mpsc::Sender<Generation>, JoinHandle<()>)>,
    busy: Arc<AtomicUsize>,
}

impl Thread {
    /// Starts it, and waits until the model has its memory.
    pub(super) fn start(path: PathBuf, loaded: &Loaded) -> Result<Self, LoadError> {
        let (sender, inbox) = mpsc::channel(LINE);
        let busy = Arc::new(AtomicUsize::new(0));
        let slots = usize::from(loaded.size.slots);
        let engine = Engine::new(inbox, slots, Arc::new(loaded.vocabulary.clone()), Arc::clone(&busy));
        let (model, size) = (Arc::clone(&loaded.model), loaded.size);
        let (tell, ready) = std_mpsc::sync_channel(1);
        let work = move || {
            let build = || Llama::new(load::backend()?, &model, size);
            engine.run(build, |built| drop(tell.send(built)));
        };
        let thread = thread::Builder::new().name("gguf".to_owned()).spawn(work).map_err(LoadError::Thread)?;
        let built = ready.recv().unwrap_or_else(|_| Err("its thread ended".into()));
        built.map_err(|source| LoadError::Refused { path, source })?;
        Ok(Self { running: Some((sender, thread)), busy })
    }

    /// Queues a generation.
    pub(super) fn submit(&self, generation: Generation) -> Result<(), ModelError> {
        let Some((sender, thread)) = &self.running else { return Err(gone()) };
        sender.try_send(generation).map_err(|error| match error {
            TrySendError::Full(_) => ModelError::Busy { retry_after: BUSY },
            TrySendError::Closed(_) => gone(),
        })?;
        thread.thread().unpark();
        Ok(())
    }

    /// How many generations wait or run.
    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// Wakes the thread.
    fn wake(&self) {
        if let Some((_, thread)) = &self.running {
            thread.thread().unpark();
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.running.take() {
            drop(sender);
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// The output of a generation.
#[derive(Debug)]
pub(super) struct OutputReceiver {
    outputs: mpsc::Receiver<Result<Output, ModelError>>,
    thread: Arc<Thread>,
}

impl OutputReceiver {
    pub(super) fn new(outputs: mpsc::Receiver<Result<Output, ModelError>>, thread: Arc<Thread>) -> Self {
        Self { outputs, thread }
    }
}

impl Stream for OutputReceiver {
    type Item = Result<Output, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.outputs.poll_recv(cx);
        if polled.is_ready() {
            // There is room again.
            self.thread.wake();
        }
        polled
    }
}

impl Drop for OutputReceiver {
    fn drop(&mut self) {
        self.outputs.close();
        self.thread.wake();
    }
}

fn gone() -> ModelError {
    // The thread ends with the process: it has no requests.
    ModelError::Absent { retry_after: BUSY, cause: "the model's thread has ended".into() }
}
