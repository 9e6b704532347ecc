//! Submits prompts that nobody reads, one after the other on each of many connections.

use std::time::Instant;

use anyhow::{Result, bail};

use super::{
    Found,
    crowd::{Crowd, Happened, Newcomer},
    meter::Meter,
    reader::Progress,
    request,
};
use crate::plan::{Accept, Watched};

pub(super) fn run(crowd: &mut Crowd, watched: &[Watched], work: &Accept) -> Result<Found> {
    for _ in 0..work.connections {
        crowd.open(Newcomer {
            request: request::submit(),
            stream: 0,
            progress: Progress::default(),
            asks: false,
            target: 0,
        })?;
    }
    submit(crowd, Instant::now() + work.warm_up)?;
    let meter = Meter::begin(watched, &mut crowd.tally)?;
    submit(crowd, Instant::now() + work.window)?;
    let window = meter.end(watched, &mut crowd.tally)?;
    Ok(Found::new(window, work.connections, crowd.tally.counts.answers))
}

fn submit(crowd: &mut Crowd, until: Instant) -> Result<()> {
    while Instant::now() < until {
        for (place, happened) in crowd.turn(until)? {
            match happened {
                Happened::Answered(200) | Happened::Arrived => {}
                Happened::Whole => crowd.ask_again(place, request::submit())?,
                Happened::Answered(status) => bail!("status {status} instead of an accepted prompt"),
                Happened::Broken => bail!("a connection broke"),
            }
        }
    }
    Ok(())
}
