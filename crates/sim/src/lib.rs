//! The whole system on memory adapters under faults: one seed, one run, in simulated time.
//!
//! ```text
//!  clients and readers ─ Generations ┐                            ┌ MemoryLog
//!                                    ├ Node (faults) ─ Ledger ────┤
//!  workers ──────────────── Worker ──┘      │                     └ MemoryQueue
//!                                           └─▶ oracle: I1 to I11 on what clients and readers saw
//! ```
//!
//! All randomness comes from one generator, and everything runs on one thread in tokio's paused time. So a seed gives the same
//! history every time, and repeats a failure. Faults are injected between the system and the adapters. The ledger is below
//! them, and records what really happened. The oracle compares the two.
//!
//! The tests plant [`Defect`]s to show that the oracle finds each of them.
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
