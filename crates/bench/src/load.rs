//! The load process: one thread that opens connections, reads them, and checks every piece.
//!
//! It is told what to do on its standard input, says what it measured on its standard output, and looks at the CPU time of
//! those it measures itself, at the very instants between which it counts.

mod accept;
mod crowd;
mod follow;
mod meter;
mod reader;
mod replay;
mod request;
mod soak;
mod storm;
mod streams;
mod tally;

use std::io::{self, Read, Write};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use self::crowd::Crowd;
pub(crate) use self::{
    meter::Window,
    tally::{Errors, Times},
};
use crate::{
    plan::{Plan, Work},
    process,
};

/// What came out.
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

/// What a kind of work found, beside what everybody counts.
#[derive(Debug)]
struct Found {
    window: Window,
    open: usize,
    verified: u64,
    caught_up: Option<Times>,
    looks: Vec<Look>,
}

impl Found {
    fn new(window: Window, open: usize, verified: u64) -> Self {
        Self { window, open, verified, caught_up: None, looks: Vec::new() }
    }
}

/// The whole of the load process.
pub(crate) fn run() -> Result<()> {
    let mut plan = String::new();
    io::stdin().read_to_string(&mut plan).context("reading the plan")?;
    let plan: Plan = serde_json::from_str(&plan).context("the plan")?;
    raise_descriptors()?;
    let measured = work(&plan)?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&measured)?).context("telling what was measured")
}

fn work(plan: &Plan) -> Result<Measured> {
    let resting = plan.watched.iter().map(|watched| process::memory(watched.pid)).collect::<Result<_>>()?;
    let mut crowd = Crowd::new(plan.address)?;
    let found = match &plan.work {
        Work::Follow(work) => follow::run(&mut crowd, &plan.watched, work),
        Work::Accept(work) => accept::run(&mut crowd, &plan.watched, work),
        Work::Storm(work) => storm::run(&mut crowd, &plan.watched, work),
        Work::Replay(work) => replay::run(&mut crowd, &plan.watched, work),
        Work::Soak(work) => soak::run(&mut crowd, &plan.watched, work),
    };
    let errors = crowd.tally.errors();
    let Found { window, open, verified, caught_up, looks } =
        found.with_context(|| format!("{} errors: {:?}", errors.count, errors.told))?;
    let sample = crowd.tally.sample.as_ref().map(|sample| String::from_utf8_lossy(sample).into_owned());
    let first_token = crowd.tally.first_tokens();
    Ok(Measured { open, resting, window, first_token, caught_up, verified, errors, looks, sample })
}

/// As many sockets as the system lets us have.
pub(crate) fn raise_descriptors() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("asking for the limit of descriptors")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the limit of descriptors")
}
