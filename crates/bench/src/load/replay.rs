//! Reads finished streams from their start, several readers at a time, each stream many times.

use std::time::Instant;

use anyhow::{Result, bail};

use super::{
    connections::{Connections, Happened},
    measured::Found,
    meter::Meter,
    reader::Progress,
    streams::{StallTimeout, Streams},
};
use crate::plan::{Replay, Watched};

pub(super) fn run(connections: &mut Connections, watched: &[Watched], work: &Replay) -> Result<Found> {
    let pieces = Some(work.pieces);
    let mut streams = Streams::default();
    for _ in 0..work.streams {
        let stream = streams.begin();
        connections.open(streams.asker(stream)?)?;
    }
    streams.finish(connections, pieces)?;

    let mut next = 0;
    let mut come = |connections: &mut Connections, streams: &Streams| -> Result<()> {
        connections.open(streams.follower(next % work.streams, Progress::default())?)?;
        next += 1;
        Ok(())
    };
    let meter = Meter::begin(watched, &mut connections.tally)?;
    let until = Instant::now() + work.window;
    for _ in 0..work.readers {
        come(connections, &streams)?;
    }
    let mut stall = StallTimeout::new(connections);
    while Instant::now() < until {
        let happened = connections.turn(until)?;
        if happened.iter().any(|(_, happened)| *happened == Happened::Broken) {
            bail!("a reader broke");
        }
        for _ in 0..streams.settle(connections, &happened, pieces)? {
            come(connections, &streams)?;
        }
        stall.check(connections)?;
    }
    let window = meter.end(watched, &mut connections.tally)?;
    streams.finish(connections, pieces)?;
    Ok(Found::new(window, work.readers, streams.verified))
}
