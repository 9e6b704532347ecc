//! The whole system on memory adapters under faults: one seed, one run, in simulated time.
//!
//! ```text
//!  clients and readers ─ Generations ┐                            ┌ MemoryLog
//!                                    ├ Node (faults) ─ Ledger ────┤
//!  workers ──────────────── Worker ──┘      │                     └ MemoryQueue
//!                                           └─▶ oracle: I1 to I11 on what everybody saw
//! ```
//!
//! Everything random comes from one generator, everything runs on one thread and in tokio's paused time: a seed gives the
//! same history every time, and a seed that breaks something is all that is needed to see it again. Faults strike between
//! the system and the adapters; the ledger sits below them and knows what really happened; the oracle compares the two.
//!
//! That the oracle sees anything is shown by planting [`Defect`]s: each is caught.
//!
//! Not here: wire formats (I8 is tested with the encoders), real brokers, disks and processes.
#![expect(clippy::indexing_slicing, reason = "this is a test, and may panic")]

mod broker;
mod clock;
mod defect;
mod flawed_log;
mod flawed_queue;
mod injector;
mod ledger;
mod models;
mod oracle;
mod plan;
mod record;
mod remote_log;
mod remote_queue;
mod rng;
mod run;
mod wake_ups;

pub use defect::Defect;
pub use record::{Rule, Violation};
pub use run::{Run, run};
