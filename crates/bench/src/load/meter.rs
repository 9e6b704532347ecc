//! What each process used in a window.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::tally::{Counts, Tally, Times};
use crate::{plan::Watched, process};

/// A window that is open.
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    cpu: Vec<Duration>,
    own: Duration,
    machine: Duration,
    counts: Counts,
}

/// What was measured in a window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) reads: u64,
    /// Answers that came in one.
    pub(crate) answers: u64,
    pub(crate) used: Vec<Used>,
    /// CPU time of the load process.
    pub(crate) load: Duration,
    /// CPU time of everything on the machine.
    pub(crate) machine: Duration,
    pub(crate) latency: Option<Times>,
    pub(crate) answer_time: Option<Times>,
}

/// What a watched process used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) name: String,
    pub(crate) cpu: Duration,
    /// At the end of the window, in bytes.
    pub(crate) memory: u64,
}

impl Meter {
    pub(crate) fn begin(watched: &[Watched], tally: &mut Tally) -> Result<Self> {
        tally.begin()?;
        Ok(Self {
            began: Instant::now(),
            cpu: watched.iter().map(|watched| process::cpu(watched.pid)).collect::<Result<_>>()?,
            own: process::cpu(std::process::id())?,
            machine: process::machine()?,
            counts: tally.counts,
        })
    }

    pub(crate) fn end(self, watched: &[Watched], tally: &mut Tally) -> Result<Window> {
        let (latency, answer_time) = tally.end();
        let (then, now) = (self.counts, tally.counts);
        let used = watched.iter().zip(self.cpu).map(|(Watched { name, pid }, before)| {
            let cpu = process::cpu(*pid)?.saturating_sub(before);
            Ok(Used { name: name.clone(), cpu, memory: process::memory(*pid)? })
        });
        Ok(Window {
            seconds: self.began.elapsed().as_secs_f64(),
            events: now.events - then.events,
            bytes: now.bytes - then.bytes,
            reads: now.reads - then.reads,
            answers: now.answers - then.answers,
            used: used.collect::<Result<_>>()?,
            load: process::cpu(std::process::id())?.saturating_sub(self.own),
            machine: process::machine()?.saturating_sub(self.machine),
            latency,
            answer_time,
        })
    }
}
