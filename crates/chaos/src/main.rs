//! The chaos run: injects faults into a running Tokenwire at random instants, and checks what every reader saw.
//!
//! `cargo run --release -p chaos -- --mode cluster --rounds 300 --seed 1` starts the real program, in cluster mode on a real
//! Redis and a real RabbitMQ behind proxies that inject faults. Many generations run at once. Their readers cut their own
//! connections at random bytes, and resume. The run kills, freezes and drains processes, restarts servers, and cuts, delays
//! and blocks connections. At the end it stops all faults, and checks every promise of `docs/http.md` against what each
//! reader saw. After a violation the exit code is 1; the report has the seed.
//!
//! The seed decides the plan ([`plan`]), and not the timing. A run of the simulator (`crates/sim`) repeats exactly.
//!
//! `--takeovers 10` measures how long a takeover takes, with no other load ([`takeover`]).

mod args;
mod clients;
mod examine;
mod fault_log;
mod generation;
mod judge;
mod plan;
mod process;
mod reader;
mod redis;
mod report;
mod run;
mod say;
mod system;
mod takeover;
mod upstream;
mod world;

use std::{env::current_exe, path::absolute, process::ExitCode};

use clap::Parser;

use crate::{args::Options, process::Binaries, say::say};

#[tokio::main]
async fn main() -> ExitCode {
    let mut options = Options::parse();
    // The processes run in directories of their own.
    options.keep = options.keep.and_then(|keep| absolute(keep).ok());
    let beside = current_exe().ok().map(|chaos| chaos.with_file_name("tokenwire"));
    let Some(binary) = options.binary.clone().or(beside).and_then(|path| path.canonicalize().ok()) else {
        say("no tokenwire to test: build it (cargo build --release -p tokenwire), or set --binary");
        return ExitCode::FAILURE;
    };
    let previous = match options.previous.as_ref().map(|path| path.canonicalize()).transpose() {
        Ok(previous) => previous,
        Err(error) => {
            say(&format!("cannot use the binary of --previous: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let binaries = Binaries { current: binary, previous };
    let ran = match options.takeovers {
        None => Box::pin(run::run(&options, &binaries)).await.map(|report| {
            report.keep();
            (report.is_clean(), report.to_string())
        }),
        Some(times) => Box::pin(takeover::run(&options, &binaries, times))
            .await
            .map(|table| (table.is_clean(), table.to_string())),
    };
    match ran {
        Ok((is_clean, told)) => {
            say(&format!("\n{told}"));
            if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}
