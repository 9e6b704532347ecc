//! Cuts all readers of one stream at once, lets them resume, and takes the time until the last has caught up.
//!
//! Who asked is not cut: it knows how far the stream was when the others came back. To have caught up is to have that entry.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{
    crowd::{Crowd, Happened},
    measured::Found,
    meter::Meter,
    reader::Progress,
    streams::{Patience, Streams},
    tally::Times,
};
use crate::plan::{Storm, Watched};

pub(super) fn run(crowd: &mut Crowd, watched: &[Watched], work: &Storm) -> Result<Found> {
    let mut streams = Streams::default();
    streams.gather(crowd, 1, work.readers + 1, std::time::Duration::ZERO)?;
    streams.listen(crowd, work.warm_up, Some(work.pieces))?;
    // The first connection is the one that asked.
    let cut: Vec<Progress> = (1..=work.readers).filter_map(|place| crowd.close(place)).collect();
    streams.listen(crowd, work.away, Some(work.pieces))?;
    let (_, witness) =
        crowd.seen(0).context("the stream has ended before the storm was over: make it longer")?;

    let meter = Meter::begin(watched, &mut crowd.tally)?;
    let began = Instant::now();
    for progress in &cut {
        let mut newcomer = streams.follower(0, *progress)?;
        newcomer.target = witness.cursor.max(progress.cursor + 1);
        crowd.open(newcomer)?;
    }
    let open = crowd.len();
    let mut times = Vec::with_capacity(cut.len());
    let mut patience = Patience::new(crowd);
    while times.len() < cut.len() {
        let happened = crowd.turn(Instant::now() + std::time::Duration::from_secs(1))?;
        let now = began.elapsed();
        for (_, happened) in &happened {
            match happened {
                Happened::Arrived => times.push(now),
                Happened::Whole => bail!("the stream has ended before the storm was over: make it longer"),
                Happened::Broken => bail!("a reader could not come back"),
                Happened::Answered(_) => {}
            }
        }
        streams.settle(crowd, &happened, Some(work.pieces))?;
        patience.check(crowd)?;
    }
    let window = meter.end(watched, &mut crowd.tally)?;
    streams.finish(crowd, Some(work.pieces))?;
    Ok(Found { caught_up: Times::of(&times), ..Found::new(window, open, streams.verified) })
}
