//! Cuts all readers of one stream at once, lets them resume, and measures the time until the last has caught up.
//!
//! The asker is not cut: it knows how far the stream was when the others came back. A reader that has that entry has caught up.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{
    connections::{Connections, Happened},
    measured::Found,
    meter::Meter,
    reader::Progress,
    streams::{StallTimeout, Streams},
    tally::Times,
};
use crate::plan::{Storm, Watched};

pub(super) fn run(connections: &mut Connections, watched: &[Watched], work: &Storm) -> Result<Found> {
    let mut streams = Streams::default();
    streams.gather(connections, 1, work.readers + 1, std::time::Duration::ZERO)?;
    streams.listen(connections, work.warm_up, Some(work.pieces))?;
    // The first connection is the one that asked.
    let cut: Vec<Progress> = (1..=work.readers).filter_map(|place| connections.close(place)).collect();
    streams.listen(connections, work.away, Some(work.pieces))?;
    let (_, witness) =
        connections.seen(0).context("the stream has ended before the storm was over: make it longer")?;

    let meter = Meter::begin(watched, &mut connections.tally)?;
    let began = Instant::now();
    for progress in &cut {
        let mut new_connection = streams.follower(0, *progress)?;
        new_connection.target = witness.cursor.max(progress.cursor + 1);
        connections.open(new_connection)?;
    }
    let open = connections.len();
    let mut times = Vec::with_capacity(cut.len());
    let mut stall = StallTimeout::new(connections);
    while times.len() < cut.len() {
        let happened = connections.turn(Instant::now() + std::time::Duration::from_secs(1))?;
        let now = began.elapsed();
        for (_, happened) in &happened {
            match happened {
                Happened::Arrived => times.push(now),
                Happened::Whole => bail!("the stream has ended before the storm was over: make it longer"),
                Happened::Broken => bail!("a reader could not come back"),
                Happened::Answered(_) => {}
            }
        }
        streams.settle(connections, &happened, Some(work.pieces))?;
        stall.check(connections)?;
    }
    let window = meter.end(watched, &mut connections.tally)?;
    streams.finish(connections, Some(work.pieces))?;
    Ok(Found { caught_up: Times::of(&times), ..Found::new(window, open, streams.verified) })
}
