//! The load process: one thread that opens connections, reads them, and checks every delta.
//!
//! It reads its plan from standard input, and writes its results to standard output. It samples the CPU time of the measured
//! processes itself, at the start and the end of its window.

mod accept;
mod connections;
mod follow;
mod measured;
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

use self::{connections::Connections, measured::Found};
pub(crate) use self::{measured::Measured, meter::Window, tally::Times};
use crate::{
    plan::{Plan, Work},
    process,
};

/// The load process.
pub(crate) fn run() -> Result<()> {
    let mut plan = String::new();
    io::stdin().read_to_string(&mut plan).context("reading the plan")?;
    let plan: Plan = serde_json::from_str(&plan).context("the plan")?;
    raise_open_file_limit()?;
    let measured = work(&plan)?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&measured)?).context("telling what was measured")
}

fn work(plan: &Plan) -> Result<Measured> {
    let resting = plan.watched.iter().map(|watched| process::memory(watched.pid)).collect::<Result<_>>()?;
    let mut connections = Connections::new(plan.address)?;
    let found = match &plan.work {
        Work::Follow(work) => follow::run(&mut connections, &plan.watched, work),
        Work::Accept(work) => accept::run(&mut connections, &plan.watched, work),
        Work::Storm(work) => storm::run(&mut connections, &plan.watched, work),
        Work::Replay(work) => replay::run(&mut connections, &plan.watched, work),
        Work::Soak(work) => soak::run(&mut connections, &plan.watched, work),
    };
    let errors = connections.tally.errors();
    let Found { window, open, verified, caught_up, looks } =
        found.with_context(|| format!("{} errors: {:?}", errors.count, errors.told))?;
    let sample = connections.tally.sample.as_ref().map(|sample| String::from_utf8_lossy(sample).into_owned());
    let first_token = connections.tally.first_tokens();
    Ok(Measured { open, resting, window, first_token, caught_up, verified, errors, looks, sample })
}

/// Raises the open-file limit to the hard limit.
pub(crate) fn raise_open_file_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("reading the open-file limit")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the open-file limit")
}
