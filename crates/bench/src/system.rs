//! The server under test: the real program as `serve`, or as `api` and `worker` on a Redis and a RabbitMQ of their own.
//!
//! Settings are the defaults, except for the model, limits for the load, and the data directory. Logs go to a file at their
//! default level.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use testkit::{
    client::{self, Request},
    services::{AppendOnly, Guarded, RabbitMq, Redis, free_port},
};
use tokio::time::sleep;

use crate::{
    args::{Fsync, Mode, Options, Sync},
    plan::Watched,
    scenario::Load,
};

/// More than a start takes on a busy machine.
const START: Duration = Duration::from_secs(60);

/// The server, up. Gone when dropped.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) address: SocketAddr,
    pub(crate) watched: Vec<Watched>,
    /// From the start of the last process to the first `GET /ready` that said yes.
    pub(crate) ready_after: Duration,
    processes: Vec<Guarded>,
    _servers: Option<(Redis, Box<RabbitMq>)>,
    /// Last: removed after the processes have gone.
    _directory: TempDir,
}

impl System {
    pub(crate) async fn start(options: &Options, load: &Load, binary: &Path) -> Result<Self> {
        let directory = tempfile::tempdir().context("a temporary directory")?;
        fs::write(directory.path().join("models.toml"), load.catalogue())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut start =
            Start { options, load, binary, directory: directory.path(), address, env: Vec::new() };
        let (mut processes, mut watched, mut servers) = (Vec::new(), Vec::new(), None);
        if options.mode == Mode::Cluster {
            let append_only = match options.redis {
                Fsync::Always => AppendOnly::Yes,
                Fsync::Everysec => AppendOnly::EverySecond,
                Fsync::None => AppendOnly::No,
            };
            let (redis, rabbitmq) = tokio::join!(Redis::start(append_only), RabbitMq::start());
            start.env = vec![format!("REDIS_URL={}", redis.url()), format!("AMQP_URL={}", rabbitmq.url())];
            watched.push(Watched { name: "Redis".into(), pid: redis.pid() });
            watched.push(Watched { name: "RabbitMQ".into(), pid: rabbitmq.pid() });
            servers = Some((redis, Box::new(rabbitmq)));
        }
        let roles: &[&str] = match options.mode {
            Mode::Embedded => &["serve"],
            Mode::Cluster => &["worker", "api"],
        };
        let mut began = Instant::now();
        for role in roles {
            began = Instant::now();
            let process = start.process(role)?;
            watched.insert(0, Watched { name: (*role).into(), pid: process.pid() });
            processes.push(process);
        }
        let ready_after = ready(&mut processes, address, began).await?;
        Ok(Self { address, watched, ready_after, processes, _servers: servers, _directory: directory })
    }

    /// What the processes have written, for when something went wrong.
    pub(crate) fn output(&self) -> String {
        let last = |process: &Guarded| {
            let output = process.output();
            let lines: Vec<_> = output.lines().rev().take(10).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        self.processes.iter().map(last).collect::<Vec<_>>().join("\n---\n")
    }
}

struct Start<'a> {
    options: &'a Options,
    load: &'a Load,
    binary: &'a Path,
    directory: &'a Path,
    address: SocketAddr,
    env: Vec<String>,
}

impl Start<'_> {
    fn process(&self, role: &str) -> Result<Guarded> {
        // Each has a directory: for its log, and for its data.
        let directory = self.directory.join(role);
        fs::create_dir(&directory)?;
        let mut command = Command::new("env");
        command.current_dir(&directory).arg("-i").arg("PATH=/usr/bin:/bin").args(&self.env);
        command.arg("TOKENWIRE_MODELS=../models.toml");
        // Nothing ends because it takes long; RabbitMQ allows half an hour at most.
        command.args(["TIMEOUT_SECONDS=1500", "TOKENWIRE_QUEUE_TIME=1h"]);
        if let Some(retention) = self.load.retention {
            command.arg(format!("TOKENWIRE_RETENTION={}s", retention.as_secs()));
        }
        if role != "worker" {
            command.arg(format!("TOKENWIRE_LISTEN={}", self.address));
            command.arg(format!("TOKENWIRE_MAX_STREAMS={}", self.load.connections().max(10_000) + 100));
            // A load is not shed here: what is asked for is measured.
            command.arg(format!("TOKENWIRE_MAX_WAITING={}", u32::MAX));
        }
        if role != "api" {
            command.arg(format!("TOKENWIRE_SLOTS={}", self.load.slots));
        }
        if role == "serve" {
            command.args(match self.options.sync {
                Sync::Commit => &["TOKENWIRE_SYNC=commit"],
                Sync::Os => &["TOKENWIRE_SYNC=os"],
                Sync::None => &["TOKENWIRE_EPHEMERAL=true"],
            });
        }
        command.args(&self.options.settings).arg(self.binary).arg(role);
        Ok(Guarded::spawn(&command, &directory))
    }
}

/// Polls until the server is ready.
async fn ready(processes: &mut [Guarded], address: SocketAddr, began: Instant) -> Result<Duration> {
    let request = Request::get("/ready");
    loop {
        if matches!(client::send(address, &request, None).await, Ok(response) if response.status == 200) {
            return Ok(began.elapsed());
        }
        for process in &mut *processes {
            if process.has_ended() {
                bail!("the program has ended at its start: {}", process.output());
            }
        }
        ensure!(began.elapsed() < START, "the program is not ready {START:?} after its start");
        sleep(Duration::from_millis(2)).await;
    }
}

/// The program: the one that was named, or that of this workspace, built as this one is.
pub(crate) fn binary(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(named) = named {
        return named.canonicalize().with_context(|| format!("there is no {}", named.display()));
    }
    let beside = std::env::current_exe()?.with_file_name("tokenwire");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--package", "tokenwire", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    ensure!(cargo.status().context("starting cargo")?.success(), "cargo could not build tokenwire");
    beside.canonicalize().with_context(|| format!("cargo has built no {}", beside.display()))
}
