//! The state that all readers and faults of a run share.

use std::{
    fmt::Display,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use rand::{rngs::StdRng, seq::IndexedRandom};
use testkit::client;
use tokio_util::sync::CancellationToken;

use crate::fault_log::FaultLog;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) fault_log: FaultLog,
    /// Where the API listens.
    replicas: Vec<u16>,
    /// Fires long after the last fault. A reader that still waits then is hung.
    pub(crate) give_up: CancellationToken,
    violations: Mutex<Vec<String>>,
    /// How many prompts were sent again by clients that did not wait for an answer.
    repeats: AtomicUsize,
}

impl World {
    pub(crate) fn new(replicas: Vec<u16>) -> Self {
        Self {
            fault_log: FaultLog::new(),
            replicas,
            give_up: CancellationToken::new(),
            violations: Mutex::default(),
            repeats: AtomicUsize::new(0),
        }
    }

    /// One replica, as a load balancer without memory chooses it.
    pub(crate) fn replica(&self, rng: &mut StdRng) -> SocketAddr {
        client::local(*self.replicas.choose(rng).expect("there is a replica"))
    }

    /// Records a violation.
    pub(crate) fn violation(&self, what: impl Display) {
        self.lock().push(format!("at {}: {what}", self.fault_log.clock()));
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// Looks at what came with a 503. The queue takes more prompts than this run has at once: it is full only when a prompt that
    /// was sent again is counted again.
    pub(crate) fn refused(&self, text: &str) {
        if text.contains("overloaded") {
            self.violation(format!("the queue is full, and must have room for every prompt: {text}"));
        }
    }

    pub(crate) fn repeated(&self) {
        self.repeats.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn repeats(&self) -> usize {
        self.repeats.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.violations.lock().expect("nothing panics while it holds the lock")
    }
}
