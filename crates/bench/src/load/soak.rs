//! Readers that connect, are cut, resume and leave, for a long time. Memory is sampled.
//!
//! Each reader asks, is cut at some entry, resumes after it, and reads to the end. Then the next reader takes its place. For
//! every second stream, another reader reads it from the start.

use std::{
    collections::HashSet,
    io::{self, Write},
    time::Instant,
};

use anyhow::{Result, bail};

use super::{
    connections::{Connections, Happened},
    measured::{Found, Look},
    meter::Meter,
    reader::Progress,
    streams::{StallTimeout, Streams},
};
use crate::{
    plan::{Soak, Watched},
    process,
};

pub(super) fn run(connections: &mut Connections, watched: &[Watched], work: &Soak) -> Result<Found> {
    let pieces = Some(work.pieces);
    let mut streams = Streams::default();
    let mut rng = Rng(1);
    // Readers that are cut when they reach their target.
    let mut doomed: HashSet<usize> = HashSet::new();
    let (mut looks, began) = (Vec::new(), Instant::now());
    let (until, mut look_at) = (began + work.window, began);
    let meter = Meter::begin(watched, &mut connections.tally)?;
    let mut stall = StallTimeout::new(connections);
    while Instant::now() < until {
        while connections.len() < work.readers {
            let stream = streams.begin();
            let mut asker = streams.asker(stream)?;
            asker.target = 1 + rng.below(work.pieces);
            doomed.insert(connections.open(asker)?);
        }
        if Instant::now() >= look_at {
            look_at += work.look;
            let memory = watched.iter().map(|watched| process::memory(watched.pid)).collect::<Result<_>>()?;
            let look = Look { seconds: began.elapsed().as_secs_f64(), memory };
            // A run takes ten minutes: it shows progress.
            let _ = writeln!(io::stderr(), "{}", look.line(watched));
            looks.push(look);
        }
        let happened = connections.turn(until.min(look_at))?;
        for (place, happened) in &happened {
            match happened {
                Happened::Arrived => {
                    if !doomed.remove(place) {
                        continue;
                    }
                    let Some((stream, progress)) = connections.seen(*place) else { continue };
                    if progress.told {
                        continue;
                    }
                    connections.close(*place);
                    connections.open(streams.follower(stream, progress)?)?;
                    if stream % 2 == 0 {
                        connections.open(streams.follower(stream, Progress::default())?)?;
                    }
                }
                Happened::Whole | Happened::Broken => {
                    doomed.remove(place);
                }
                Happened::Answered(200) => {}
                Happened::Answered(status) => bail!("status {status} instead of a stream"),
            }
        }
        streams.settle(connections, &happened, pieces)?;
        stall.check(connections)?;
    }
    let window = meter.end(watched, &mut connections.tally)?;
    streams.finish(connections, pieces)?;
    Ok(Found { looks, ..Found::new(window, work.readers, streams.verified) })
}

impl Look {
    fn line(&self, watched: &[Watched]) -> String {
        let memory = watched.iter().zip(&self.memory);
        let memory = memory.map(|(Watched { name, .. }, bytes)| format!("{name} {} KiB", bytes / 1024));
        format!("{:>6.0} s: {}", self.seconds, memory.collect::<Vec<_>>().join(", "))
    }
}

/// A linear congruential generator (Knuth, MMIX). Its quality does not matter here.
#[derive(Debug)]
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}
