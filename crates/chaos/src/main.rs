//! The chaos run: hurts a running Tokenwire at random instants, and checks what every reader saw.
//!
//! `cargo run --release -p chaos -- --mode cluster --rounds 300 --seed 1` starts the real program, in cluster mode on a real
//! Redis and a real RabbitMQ behind proxies that misbehave. Many generations run at once, each with readers that cut
//! themselves at random bytes and resume anywhere; processes are killed, frozen and drained, servers restarted, and
//! connections cut, delayed and swallowed. At the end everything is healed, and every promise of `docs/http.md` is held
//! against what each reader saw. Any violation is an exit code of 1, with the seed.
//!
//! The seed decides what is planned ([`plan`]), not how it meets the system: that is what the simulator is for.
//!
//! `--takeovers 10` is another run on the same system: a quiet one, to tell how long a takeover takes ([`takeover`]).

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
        say("there is no tokenwire to hurt: build it (cargo build --release -p tokenwire), or say --binary");
        return ExitCode::FAILURE;
    };
    let previous = match options.previous.as_ref().map(|path| path.canonicalize()).transpose() {
        Ok(previous) => previous,
        Err(error) => {
            say(&format!("the binary of --previous cannot be used: {error}"));
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
