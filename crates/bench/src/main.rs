//! Measures the real program under load, and what this machine can do at best beside it.
//!
//! ```text
//! cargo run --release -p bench -- streams --mode cluster --json streams.json
//! ```
//!
//! starts the release binary of this workspace (with a Redis and a RabbitMQ of its own in cluster mode), loads it over loopback
//! sockets from a **separate process**, and prints a table. Then the same load process reads the same words at the same pace
//! from a **floor** ([`floor`]): a bare epoll loop that does one `write()` for each event and reader and nothing else.
//!
//! **What is measured.** CPU time (user and system) of each process of the server between two instants, divided by the events
//! that readers received between them; the same of the floor, and the ratio. Latency from the moment when the model made a
//! piece, which the piece itself says, to the moment when the load process has read it: log and all. The time from a question,
//! its connection included, to its first piece. Private memory (`RssAnon`) per open stream. What the load process itself used, and what else the
//! machine did meanwhile: with more than a busy core of either, the figures are not the server's alone, and the report says
//! so.
//!
//! **What is checked.** Every reader got entries 1, 2, 3 … without a gap or a repetition over all of its connections; where
//! streams end, it was told the end, had as many pieces as the end says, and the same ones as every other reader of that
//! stream. Any error is told, and the exit code is 1.
//!
//! **What is not.** Networks: everything is on one machine, and all share its cores, so that rates and latencies depend on
//! what else runs. CPU time per event and its ratio to the floor depend on it much less. Memory of the kernel (sockets). Real
//! models. Durability: that is the chaos run's. How late the model itself is: a piece that is made late counts from then.
//!
//! Linux alone has what this looks at. `cargo bench -p bench` measures appending, following and encoding by themselves.

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
        // This program in its other parts: see `child`.
        Some(child::LOAD) => load::run(),
        Some(child::FLOOR) => floor::run(),
        _ => run::run(&Options::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody listens: then there is nothing to say.
            let _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}
