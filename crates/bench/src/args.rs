//! The command line.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use clap::{Parser, ValueEnum};
use serde::Serialize;

/// Measures the real program under load, beside what this machine can do at best in the same minute.
///
/// What is left out has a value that the scenario chooses, shown in the report.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    #[arg(value_enum)]
    pub(crate) scenario: Scenario,
    /// What is measured: one `serve`, or an `api` and a `worker` on Redis and RabbitMQ.
    #[arg(long, value_enum, default_value_t = Mode::Embedded)]
    pub(crate) mode: Mode,
    /// How durable the embedded log is.
    #[arg(long, value_enum, default_value_t = Sync::Commit)]
    pub(crate) sync: Sync,
    /// How durable Redis is.
    #[arg(long, value_enum, default_value_t = Fsync::Everysec)]
    pub(crate) redis: Fsync,
    /// Tiny numbers, for a few seconds: for correctness only.
    #[arg(long)]
    pub(crate) small: bool,
    /// How many streams.
    #[arg(long, value_name = "COUNT")]
    pub(crate) streams: Option<NonZeroUsize>,
    /// How many readers each stream has; with accept, how many connections; with replay and soak, how many read at a time.
    #[arg(long, value_name = "COUNT")]
    pub(crate) readers: Option<NonZeroUsize>,
    /// How many pieces a second each stream says; 0 is as fast as it goes.
    #[arg(long, value_name = "PER SECOND")]
    pub(crate) rate: Option<f64>,
    /// How many pieces an answer has.
    #[arg(long, value_name = "COUNT")]
    pub(crate) pieces: Option<NonZeroU32>,
    /// How long is measured.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// So many times in a row, on the same server: the report tells the median of the ratios.
    #[arg(long, default_value = "1", value_name = "COUNT")]
    pub(crate) rounds: NonZeroUsize,
    /// Without the floor beside it.
    #[arg(long)]
    pub(crate) no_floor: bool,
    /// Write what was measured here, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The program. [default: the one of this workspace, built as this one is]
    #[arg(long, value_name = "PATH")]
    pub(crate) tokenwire: Option<PathBuf>,
    /// Further settings of every process of the program, as in its environment.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) settings: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scenario {
    /// One stream, 1,000 readers.
    Fanout,
    /// 500 streams, one reader each.
    Streams,
    /// Eight streams, as fast as it goes.
    Flat,
    /// Prompts that nobody reads, as fast as they are stored.
    Accept,
    /// 15,000 open streams that hardly say anything.
    Idle,
    /// 5,000 readers of one stream, cut at once, resumed at once.
    Storm,
    /// Finished streams of 5,000 pieces, read from their start.
    Replay,
    /// Ten minutes of readers that come, are cut, resume and go.
    Soak,
    /// From the start to ready.
    Start,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Embedded,
    Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sync {
    /// On the disk before anybody sees it.
    Commit,
    /// With the operating system.
    Os,
    /// In memory alone.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fsync {
    /// On the disk before it is answered.
    Always,
    /// On the disk within a second.
    Everysec,
    /// In memory alone.
    None,
}
