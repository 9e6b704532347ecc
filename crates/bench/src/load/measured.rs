//! What a kind of work finds, and what the load process reports of it.

use serde::{Deserialize, Serialize};

use super::{
    meter::Window,
    tally::{Errors, Times},
};

/// What the load process reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// How many connections were open in the window.
    pub(crate) open: usize,
    /// Memory of the watched processes before there was any load, in bytes.
    pub(crate) resting: Vec<u64>,
    pub(crate) window: Window,
    pub(crate) first_token: Option<Times>,
    /// After a storm: from the first reader that came back to each one's last missed entry.
    pub(crate) caught_up: Option<Times>,
    /// How many times a whole answer was read and found right.
    pub(crate) verified: u64,
    pub(crate) errors: Errors,
    /// Over a long run.
    pub(crate) looks: Vec<Look>,
    /// An answer that came in one.
    pub(crate) sample: Option<String>,
}

/// A look at memory in a long run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) seconds: f64,
    /// Of each watched process, in bytes.
    pub(crate) memory: Vec<u64>,
}

/// What a kind of work found, beside the common counts.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) window: Window,
    pub(super) open: usize,
    pub(super) verified: u64,
    pub(super) caught_up: Option<Times>,
    pub(super) looks: Vec<Look>,
}

impl Found {
    pub(super) fn new(window: Window, open: usize, verified: u64) -> Self {
        Self { window, open, verified, caught_up: None, looks: Vec::new() }
    }
}
