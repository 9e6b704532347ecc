//! One run: the server, loaded; then the floor, loaded; then the report.

use std::io::{self, Write};

use anyhow::{Context, Result, ensure};

use crate::{
    args::{Options, Scenario},
    child::{self, Floor},
    floor::FloorConfig,
    load::Measured,
    plan::Work,
    report::{Report, Round},
    scenario::Load,
    start,
    system::{System, binary},
};

pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("a runtime")?;
    let binary = binary(options.tokenwire.as_deref())?;
    if options.scenario == Scenario::Start {
        let started = runtime.block_on(start::run(options, &binary))?;
        return tell(options, &started.to_string(), &started.json()?);
    }
    let load = Load::of(options);
    let mut report = Report::new(options, &load);
    let system = runtime.block_on(System::start(options, &load, &binary))?;
    for _ in 0..options.rounds.get() {
        let mut server = child::load(system.address, &system.watched, &load.work)
            .with_context(|| format!("loading the server, which says\n{}", system.output()))?;
        // Later rounds begin with what the first has left behind: at rest is before all of them.
        if let Some(first) = report.rounds.first() {
            server.resting.clone_from(&first.server.resting);
        }
        let floor = if options.no_floor { None } else { Some(floor(&load, &server)?) };
        report.rounds.push(Round { server, floor });
    }
    drop(system);
    tell(options, &report.to_string(), &report.json()?)?;
    ensure!(report.errors() == 0, "{} errors", report.errors());
    Ok(())
}

/// Puts the same load on the floor.
fn floor(load: &Load, server: &Measured) -> Result<Measured> {
    let floor = Floor::start(&FloorConfig {
        first_delay: load.first_delay,
        delay: load.delay,
        pieces: usize::try_from(load.pieces)?,
        canned: server.sample.clone().unwrap_or_default(),
    })?;
    let mut work = load.work.clone();
    if let Work::Accept(work) = &mut work {
        work.looked_up = 0;
    }
    child::load(floor.address, &[floor.watched()], &work).context("loading the floor")
}

fn tell(options: &Options, table: &str, json: &str) -> Result<()> {
    write!(io::stdout(), "{table}").context("writing the table")?;
    if let Some(file) = &options.json {
        std::fs::write(file, json).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
