//! Submits prompts without reading their answers, one after the other on each of many connections.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use super::{
    connections::{Connections, Happened, NewConnection},
    measured::Found,
    meter::Meter,
    reader::Progress,
    request,
};
use crate::plan::{Accept, Watched};

/// How long the response about one prompt may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn run(connections: &mut Connections, watched: &[Watched], work: &Accept) -> Result<Found> {
    for _ in 0..work.connections {
        connections.open(new_connection())?;
    }
    submit(connections, Instant::now() + work.warm_up)?;
    let meter = Meter::begin(watched, &mut connections.tally)?;
    submit(connections, Instant::now() + work.window)?;
    let window = meter.end(watched, &mut connections.tally)?;
    let verified = if work.looked_up > 0 { look_up(connections, work.looked_up)? } else { 0 };
    Ok(Found::new(window, work.connections, verified))
}

/// How many prompts were accepted, each under an id of its own; some of them, from the first to the last, are looked up.
fn look_up(connections: &mut Connections, count: usize) -> Result<u64> {
    let ids = std::mem::take(&mut connections.tally.ids);
    let distinct: HashSet<_> = ids.iter().collect();
    ensure!(distinct.len() == ids.len(), "{} prompts were accepted under {} ids", ids.len(), distinct.len());
    for id in ids.iter().step_by(ids.len().div_ceil(count).max(1)) {
        let new_connection = NewConnection { request: request::look_up(id), ..new_connection() };
        let place = connections.open(new_connection)?;
        let until = Instant::now() + ANSWER_TIMEOUT;
        loop {
            ensure!(Instant::now() < until, "no answer about {id}");
            let mut happened = connections.turn(until)?;
            happened.retain(|(at, _)| *at == place);
            if let Some((_, Happened::Answered(status))) = happened.first() {
                ensure!(*status == 200, "status {status} instead of {id}");
            }
            if happened.contains(&(place, Happened::Whole)) {
                break;
            }
        }
        connections.close(place);
    }
    Ok(u64::try_from(ids.len())?)
}

fn new_connection() -> NewConnection {
    NewConnection {
        request: request::submit(),
        stream: 0,
        progress: Progress::default(),
        asks: false,
        target: 0,
    }
}

fn submit(connections: &mut Connections, until: Instant) -> Result<()> {
    while Instant::now() < until {
        for (place, happened) in connections.turn(until)? {
            match happened {
                Happened::Answered(200) | Happened::Arrived => {}
                Happened::Whole => connections.ask_again(place, request::submit())?,
                Happened::Answered(status) => bail!("status {status} instead of an accepted prompt"),
                Happened::Broken => bail!("a connection broke"),
            }
        }
    }
    Ok(())
}
