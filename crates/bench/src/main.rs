//! Measures the real program under load, and a minimal server on the same machine.
//!
//! ```text
//! cargo run --release -p bench -- streams --mode cluster --json streams.json
//! ```
//!
//! starts the release binary of this workspace (in cluster mode with its own Redis and RabbitMQ), loads it over loopback
//! sockets from a **separate process**, and prints a table. Then the same load process reads the same words at the same pace
//! from the **floor** ([`floor`]): an epoll loop that does one `write()` for each event and reader, and nothing else.
//!
//! **It measures:**
//! - CPU time (user and system) of each process of the server in a window, divided by the events that readers received in
//!   it; the same of the floor, and the ratio.
//! - Latency from the time when the model made a delta (its stamp) to the time when the load process has read it.
//! - Time from a prompt, connect included, to its first delta.
//! - Private memory (`RssAnon`) per open stream.
//! - CPU time of the load process and of the rest of the machine. Above one core of either, the report warns.
//!
//! **It checks:** every reader gets entries 1, 2, 3 … without a gap or a repetition over all its connections. At the end of a
//! stream, every reader has the end, the number of deltas that the end states, and the same deltas as the other readers. After
//! an error the exit code is 1.
//!
//! **It does not measure:** networks (all processes share the cores of one machine, so rates and latencies depend on other
//! load; CPU time per event and its ratio depend on it much less), memory of the kernel, real models, durability (see
//! `crates/chaos`), and delays of the model itself.
//!
//! It needs Linux. `cargo bench -p bench` measures append, follow and encode alone.

mod args;
mod child;
mod clock;
mod floor;
mod load;
mod number;
mod plan;
mod process;
mod report;
mod run;
mod scenario;
mod start;
mod system;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

use crate::args::Options;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next().as_deref() {
        // The child processes: see `child`.
        Some(child::LOAD) => load::run(),
        Some(child::FLOOR) => floor::run(),
        _ => run::run(&Options::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error is no error.
            let _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}
