//! The command line.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use clap::{Parser, ValueEnum};
use serde::Serialize;

/// Measures the real program under load, and a minimal server (the floor) on the same machine in the same minute.
///
/// The scenario chooses the values of options that are not set. The report shows them.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    #[arg(value_enum)]
    pub(crate) scenario: Scenario,
    /// System under test: one `serve`, or an `api` and a `worker` on Redis and RabbitMQ.
    #[arg(long, value_enum, default_value_t = Mode::Embedded)]
    pub(crate) mode: Mode,
    /// Durability of the embedded log.
    #[arg(long, value_enum, default_value_t = Sync::Commit)]
    pub(crate) sync: Sync,
    /// Durability of Redis.
    #[arg(long, value_enum, default_value_t = Fsync::Everysec)]
    pub(crate) redis: Fsync,
    /// Small numbers, for a run of a few seconds: checks correctness only.
    #[arg(long)]
    pub(crate) small: bool,
    /// Number of streams.
    #[arg(long, value_name = "COUNT")]
    pub(crate) streams: Option<NonZeroUsize>,
    /// Number of readers of each stream. With `accept`: number of connections. With `replay` and `soak`: readers at a time.
    #[arg(long, value_name = "COUNT")]
    pub(crate) readers: Option<NonZeroUsize>,
    /// Deltas per second of each stream. 0 means as fast as possible.
    #[arg(long, value_name = "PER SECOND")]
    pub(crate) rate: Option<f64>,
    /// Number of deltas of an answer.
    #[arg(long, value_name = "COUNT")]
    pub(crate) pieces: Option<NonZeroU32>,
    /// Length of the measurement, in seconds.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Number of measurements in a row, on the same server. The report shows the median of the ratios.
    #[arg(long, default_value = "1", value_name = "COUNT")]
    pub(crate) rounds: NonZeroUsize,
    /// Do not measure the floor.
    #[arg(long)]
    pub(crate) no_floor: bool,
    /// Write the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Program under test. [default: the one of this workspace, built with the same profile]
    #[arg(long, value_name = "PATH")]
    pub(crate) tokenwire: Option<PathBuf>,
    /// Environment variable of every process of the program. Can be repeated.
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
    /// Eight streams, as fast as possible.
    Flat,
    /// Prompts without readers, as fast as they are stored.
    Accept,
    /// 15,000 open streams with few deltas.
    Idle,
    /// 5,000 readers of one stream, all cut at once, all resumed at once.
    Storm,
    /// Finished streams of 5,000 deltas, read from their start.
    Replay,
    /// Ten minutes of readers that connect, are cut, resume and leave.
    Soak,
    /// Time from the start of the program until it is ready.
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
    /// On the disk before readers see it.
    Commit,
    /// In the cache of the operating system.
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
