//! The child processes of this program: the load process and the floor.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    floor::FloorConfig,
    load::Measured,
    plan::{Plan, Watched, Work},
};

pub(crate) const LOAD: &str = "as-load";
pub(crate) const FLOOR: &str = "as-floor";

fn again(part: &str) -> Result<Child> {
    let program = std::env::current_exe().context("asking for this program")?;
    let mut command = Command::new(program);
    command.arg(part).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().with_context(|| format!("starting this program {part}"))
}

/// Loads a server from a child process, and returns the results.
pub(crate) fn load(address: SocketAddr, watched: &[Watched], work: &Work) -> Result<Measured> {
    let plan = Plan { address, watched: watched.to_vec(), work: work.clone() };
    let mut child = again(LOAD)?;
    let mut stdin = child.stdin.take().context("its input is piped")?;
    stdin.write_all(serde_json::to_string(&plan)?.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output().context("waiting for the load process")?;
    ensure!(output.status.success(), "the load process gave up");
    serde_json::from_slice(&output.stdout).context("what the load process says")
}

/// The floor, listening. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Floor {
    child: Child,
    /// It ends when this does.
    stdin: Option<ChildStdin>,
    pub(crate) address: SocketAddr,
}

impl Floor {
    pub(crate) fn start(config: &FloorConfig) -> Result<Self> {
        let mut child = again(FLOOR)?;
        let mut stdin = child.stdin.take().context("its input is piped")?;
        writeln!(stdin, "{}", serde_json::to_string(config)?)?;
        let mut port = String::new();
        BufReader::new(child.stdout.take().context("its output is piped")?).read_line(&mut port)?;
        let port = port.trim().parse().context("the floor has not started")?;
        Ok(Self { child, stdin: Some(stdin), address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) })
    }

    pub(crate) fn watched(&self) -> Watched {
        Watched { name: "floor".into(), pid: self.child.id() }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.stdin.take();
        let _ = self.child.wait();
    }
}
