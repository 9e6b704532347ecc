//! The command line.

use std::{fmt, path::PathBuf};

use clap::{Parser, ValueEnum};

/// Hurts a running Tokenwire at random instants, and checks that no reader lost, repeated or reordered anything.
///
/// The seed decides the prompts, the readers and the faults. The instants at which they meet are the machine's: the same
/// seed is the same plan, not the same run.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// How many rounds of prompts and faults.
    #[arg(long, default_value_t = 50)]
    pub(crate) rounds: usize,
    /// What everything random follows from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// What is hurt: one `serve`, or two `api` and three `worker` on Redis and RabbitMQ.
    #[arg(long, default_value_t = Mode::Embedded)]
    pub(crate) mode: Mode,
    /// The program. [default: `tokenwire` in the directory of this one]
    #[arg(long)]
    pub(crate) binary: Option<PathBuf>,
    /// Keep what every process wrote, and its data, in this directory.
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Embedded,
    Cluster,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Cluster => "cluster",
        })
    }
}

impl Options {
    /// What to type to run this again.
    pub(crate) fn again(&self) -> String {
        let Self { rounds, seed, mode, .. } = self;
        format!("cargo run --release -p chaos -- --mode {mode} --rounds {rounds} --seed {seed}")
    }
}
