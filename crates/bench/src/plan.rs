//! The work of the load process, as JSON on its standard input.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// The prompt of every stream, so that every stream has the same words.
pub(crate) const QUERY: &str = "What does a river carry?";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// Whose CPU time and memory are measured.
    pub(crate) watched: Vec<Watched>,
    pub(crate) work: Work,
}

/// A process, and what the report calls it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Watched {
    pub(crate) name: String,
    pub(crate) pid: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    Follow(Follow),
    Accept(Accept),
    Storm(Storm),
    Replay(Replay),
    Soak(Soak),
}

/// Asks for streams, and reads them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Follow {
    pub(crate) streams: usize,
    /// Of each stream, the asker included.
    pub(crate) readers: usize,
    /// Over how long the streams are begun.
    pub(crate) ramp: Duration,
    /// From the time when all readers read to the start of the window.
    pub(crate) warm_up: Duration,
    /// How long is measured, unless a stream ends before.
    pub(crate) window: Duration,
    pub(crate) ends: Ends,
}

/// What is waited for after the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ends {
    /// Every reader is told the end of its stream, after so many pieces.
    Told { pieces: u64 },
    /// Nothing: the streams last longer than the run.
    Never,
}

/// Submits prompts without reading their answers, over kept connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Accept {
    pub(crate) connections: usize,
    /// How many of those that were accepted are looked up afterwards; each has to have an id of its own. None at the floor,
    /// which stores nothing.
    pub(crate) looked_up: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// Cuts all readers of one stream at once, and lets them resume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Storm {
    pub(crate) readers: usize,
    /// From the time when all readers read to the cut.
    pub(crate) warm_up: Duration,
    /// From the cut to the first reader that comes back.
    pub(crate) away: Duration,
    pub(crate) pieces: u64,
}

/// Reads finished streams from their start, several readers at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Replay {
    pub(crate) streams: usize,
    pub(crate) pieces: u64,
    /// At a time.
    pub(crate) readers: usize,
    pub(crate) window: Duration,
}

/// Readers that come, are cut, resume and go, for a long time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Soak {
    /// At a time.
    pub(crate) readers: usize,
    pub(crate) pieces: u64,
    pub(crate) window: Duration,
    /// How often memory is looked at.
    pub(crate) look: Duration,
}
