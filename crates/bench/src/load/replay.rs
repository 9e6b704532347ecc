//! Reads finished streams from their start, several readers at a time, each stream many times.

use std::time::Instant;

use anyhow::{Result, bail};

use super::{
    crowd::{Crowd, Happened},
    measured::Found,
    meter::Meter,
    reader::Progress,
    streams::{Patience, Streams},
};
use crate::plan::{Replay, Watched};

pub(super) fn run(crowd: &mut Crowd, watched: &[Watched], work: &Replay) -> Result<Found> {
    let pieces = Some(work.pieces);
    let mut streams = Streams::default();
    for _ in 0..work.streams {
        let stream = streams.begin();
        crowd.open(streams.asker(stream)?)?;
    }
    streams.finish(crowd, pieces)?;

    let mut next = 0;
    let mut come = |crowd: &mut Crowd, streams: &Streams| -> Result<()> {
        crowd.open(streams.follower(next % work.streams, Progress::default())?)?;
        next += 1;
        Ok(())
    };
    let meter = Meter::begin(watched, &mut crowd.tally)?;
    let until = Instant::now() + work.window;
    for _ in 0..work.readers {
        come(crowd, &streams)?;
    }
    let mut patience = Patience::new(crowd);
    while Instant::now() < until {
        let happened = crowd.turn(until)?;
        if happened.iter().any(|(_, happened)| *happened == Happened::Broken) {
            bail!("a reader broke");
        }
        for _ in 0..streams.settle(crowd, &happened, pieces)? {
            come(crowd, &streams)?;
        }
        patience.check(crowd)?;
    }
    let window = meter.end(watched, &mut crowd.tally)?;
    streams.finish(crowd, pieces)?;
    Ok(Found::new(window, work.readers, streams.verified))
}
