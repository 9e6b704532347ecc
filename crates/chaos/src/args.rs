//! The command line.

use std::{fmt, num::NonZeroUsize, path::PathBuf};

use clap::{Parser, ValueEnum};

/// Injects faults into a running Tokenwire at random instants, and checks that no reader lost, repeated or reordered anything.
///
/// The seed decides the prompts, the readers and the faults. The machine decides their timing: the same seed gives the same
/// plan, and not the same run.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// Number of rounds of prompts and faults.
    #[arg(long, default_value_t = 50)]
    pub(crate) rounds: usize,
    /// Measure takeovers instead. The run injects each kind of fault this many times, one answer at a time, and reports how
    /// long the reader of the answer saw nothing.
    #[arg(long, value_name = "N", conflicts_with = "rounds")]
    pub(crate) takeovers: Option<NonZeroUsize>,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// System under test: one `serve`, or two `api` and three `worker` on Redis and RabbitMQ.
    #[arg(long, default_value_t = Mode::Embedded)]
    pub(crate) mode: Mode,
    /// Program under test. [default: `tokenwire` in the directory of this program]
    #[arg(long)]
    pub(crate) binary: Option<PathBuf>,
    /// Binary of an older version. Each start of a process uses the old or the new binary, as the seed decides. In cluster
    /// mode both versions run side by side; in embedded mode they share a data directory. The old version runs with
    /// `--attempts 1000`, because it counts restarts as attempts. Faults that version 6e312e1 does not survive are left out:
    /// Redis down for a minute, a failover of Redis, a purged or deleted queue, a busy or closed upstream, and a port in use.
    #[arg(long, value_name = "PATH", conflicts_with = "takeovers")]
    pub(crate) previous: Option<PathBuf>,
    /// Keep the logs and the data of every process, and all violations, in this directory.
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
    /// The command that repeats this run.
    pub(crate) fn again(&self) -> String {
        let Self { rounds, takeovers, seed, mode, previous, .. } = self;
        let what = match takeovers {
            Some(times) => format!("--takeovers {times}"),
            None => format!("--rounds {rounds}"),
        };
        let previous = previous.as_ref().map(|path| format!(" --previous {}", path.display()));
        let previous = previous.unwrap_or_default();
        format!("cargo run --release -p chaos -- --mode {mode} {what} --seed {seed}{previous}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_run_again_is_what_was_run() {
        for said in [
            "--mode embedded --rounds 7 --seed 3",
            "--mode cluster --takeovers 2 --seed 1",
            "--mode cluster --rounds 7 --seed 3 --previous ../old/tokenwire",
        ] {
            let options = Options::parse_from(format!("chaos {said}").split(' '));
            assert_eq!(options.again(), format!("cargo run --release -p chaos -- {said}"));
        }
    }

    #[test]
    fn rounds_and_takeovers_are_two_runs() {
        assert!(Options::try_parse_from(["chaos", "--rounds", "7", "--takeovers", "2"]).is_err());
    }
}
