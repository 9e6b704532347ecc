//! The appends of a process on their way to the server, some at a time.
//!
//! Pieces come in flocks: many models speak at the same tick, and many wait for the same batch of a device. Sent one by one,
//! each costs the server a turn of its loop, with a read, a write to its file and a write to every node that listens, and
//! that is more than the append itself. So the first to come lets everyone go before it who is about to append just now, and
//! they are sent together. Nobody waits for time to pass: where nobody else is ready, it is sent at once.
//!
//! Not here: what is appended, and what an answer means (`writer.rs`).

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

/// How many may wait to be taken along. Each is a writer that waits for its answer, so this fills only when there are more
/// writers than this, all of which append in the same instant.
const WAITING: usize = 1024;

/// How many go together at most: some hundred kilobytes of pieces, and milliseconds of the server's time.
const TOGETHER: usize = 256;

/// The door to the task that sends.
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

    /// Puts a command on its way, in the order of the calls. It may be sent though nobody waits for its answer.
    pub(super) async fn begin(&self, command: Cmd) -> Sent {
        let (answer, answered) = oneshot::channel();
        if let Err(TrySendError::Full(request)) = self.requests.try_send(Request { command, answer }) {
            // Should the door be closed, the answer says so.
            let _ = Box::pin(self.requests.send(request)).await;
        }
        Sent(answered)
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn send(&self, command: Cmd) -> Result<Value, Outage> {
        self.begin(command).await.answer().await
    }
}

/// A command on its way.
#[derive(Debug)]
pub(super) struct Sent(oneshot::Receiver<Result<Value, Outage>>);

impl Sent {
    /// Waits for the answer, which is given once. May be dropped and called again until then.
    pub(super) async fn answer(&mut self) -> Result<Value, Outage> {
        (&mut self.0).await.unwrap_or(Err(Outage::Closed))
    }
}

async fn run(link: Link, mut incoming: mpsc::Receiver<Request>) {
    // No more than there are writers: each waits for its answer before it sends again.
    let mut under_way = FuturesUnordered::new();
    let mut requests = Vec::new();
    loop {
        // Both may be dropped: neither has taken anything before it is ready.
        tokio::select! {
            taken = incoming.recv_many(&mut requests, TOGETHER) => {
                if taken == 0 {
                    return;
                }
                // Whoever is ready to run goes first.
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
    // Whoever does not wait any more has no use for its answer.
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
