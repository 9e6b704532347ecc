//! From the start to ready, memory at rest, and how large the program is.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{args::Options, load::Times, process, report::Started, scenario::Load, system::System};

/// How often it is started.
const STARTS: usize = 10;

pub(crate) async fn run(options: &Options, binary: &Path) -> Result<Started> {
    let load = Load::of(options);
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..if options.small { 1 } else { STARTS } {
        let system = System::start(options, &load, binary).await?;
        times.push(system.ready_after);
        memory = system
            .watched
            .iter()
            .map(|watched| Ok((watched.name.clone(), process::memory(watched.pid)?)))
            .collect::<Result<_>>()?;
    }
    let times = Times::of(&times).context("it was started")?;
    let (size, stripped) = (fs::metadata(binary)?.len(), stripped(binary)?);
    Ok(Started { options: options.clone(), times, memory, size, stripped })
}

/// The size without symbols, in bytes.
fn stripped(binary: &Path) -> Result<u64> {
    let directory = tempfile::tempdir()?;
    let copy = directory.path().join("tokenwire");
    let status = Command::new("strip").arg("-o").arg(&copy).arg(binary).status().context("starting strip")?;
    ensure!(status.success(), "strip failed");
    Ok(fs::metadata(copy)?.len())
}
