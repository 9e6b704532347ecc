//! Sends the appends of a process, several together.
//!
//! Appends come in bursts: many models send at the same tick, or wait for the same batch of a device. Sent one by one, each
//! costs the server a turn of its event loop with a read, a file write and a write to every subscribed node, which is more
//! than the append itself. So the sender lets all tasks that are ready to append run first, then sends their appends
//! together. It does not wait for time to pass.
//!
//! Not here: the content of appends and the meaning of answers (`writer.rs`).

use ::redis::{Cmd, Pipeline, Value};
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    task::JoinSet,
};

use super::{connection::Link, outage::Outage};

/// The maximum number of waiting appends. Each is a writer that waits for its answer, so this fills only when more writers
/// append at the same instant.
const WAITING: usize = 1024;

/// The maximum number of appends that are sent together: some hundred KiB of deltas, and milliseconds of the server's time.
const TOGETHER: usize = 256;

/// The handle of the task that sends.
#[derive(Clone, Debug)]
pub(super) struct Appends {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    command: Cmd,
    answer: oneshot::Sender<Result<Value, Outage>>,
}

impl Appends {
    /// Starts the task that sends, in `tasks`.
    pub(super) fn start(link: Link, tasks: &mut JoinSet<()>) -> Self {
        let (requests, incoming) = mpsc::channel(WAITING);
        tasks.spawn(run(link, incoming));
        Self { requests }
    }

    /// Sends a command, in the order of the calls. It may be sent even if this future is dropped.
    pub(super) async fn begin(&self, command: Cmd) -> Sent {
        let (answer, answered) = oneshot::channel();
        if let Err(TrySendError::Full(request)) = self.requests.try_send(Request { command, answer }) {
            // If the task has ended, the answer says so.
            let _ = Box::pin(self.requests.send(request)).await;
        }
        Sent(answered)
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn send(&self, command: Cmd) -> Result<Value, Outage> {
        self.begin(command).await.answer().await
    }
}

/// A command without its answer.
#[derive(Debug)]
pub(super) struct Sent(oneshot::Receiver<Result<Value, Outage>>);

impl Sent {
    /// Waits for the answer, which is returned once. Can be dropped and called again until then.
    pub(super) async fn answer(&mut self) -> Result<Value, Outage> {
        (&mut self.0).await.unwrap_or(Err(Outage::Closed))
    }
}

async fn run(link: Link, mut incoming: mpsc::Receiver<Request>) {
    // Bounded by the number of writers: each waits for its answer.
    let mut under_way = FuturesUnordered::new();
    let mut requests = Vec::new();
    loop {
        // Both can be dropped: neither has taken anything before it is ready.
        tokio::select! {
            taken = incoming.recv_many(&mut requests, TOGETHER) => {
                if taken == 0 {
                    return;
                }
                // Let tasks that are ready to append run first.
                tokio::task::yield_now().await;
                while requests.len() < TOGETHER && let Ok(request) = incoming.try_recv() {
                    requests.push(request);
                }
                under_way.push(send(&link, std::mem::take(&mut requests)));
            }
            Some(()) = under_way.next() => {}
        }
    }
}

async fn send(link: &Link, requests: Vec<Request>) {
    let mut pipeline = Pipeline::with_capacity(requests.len());
    let mut waiting = Vec::with_capacity(requests.len());
    for Request { command, answer } in requests {
        pipeline.add_command(command);
        waiting.push(answer);
    }
    // A caller that has gone needs no answer.
    match link.each(&pipeline).await {
        Ok(answers) => {
            for (waiting, answer) in waiting.into_iter().zip(answers) {
                let _ = waiting.send(answer);
            }
        }
        Err(outage) => {
            for waiting in waiting {
                let _ = waiting.send(Err(outage.clone()));
            }
        }
    }
}
