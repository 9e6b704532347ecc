//! Tokenwire: streams answers of language models, and never loses one.
//!
//! The binary wires the crates together and owns what is outside them: command line, settings, logs, signals. One file
//! per command in `commands`; `compose` is the one place to see the product assembled.

mod cli;
mod commands;
mod compose;
mod descriptors;
#[cfg(test)]
mod docs;
mod lifecycle;
mod settings;
mod telemetry;

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        commands::complain(&error);
        ExitCode::FAILURE
    })
}

fn run() -> anyhow::Result<ExitCode> {
    // Before the command line is read, which looks at the environment, and before there is a second thread.
    if Path::new(".env").exists() {
        dotenvy::from_path(".env").context("reading .env in this directory")?;
    }
    let Cli { command, logs } = Cli::parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    telemetry::init(&logs)?;
    match command {
        Command::Serve(cli) => block_on(commands::serve::run(settings::serve(&cli)?)),
        Command::Api(cli) => block_on(commands::api::run(settings::api(
            &cli.http,
            &cli.generations,
            &cli.models,
            &cli.metrics,
            &cli.cluster,
        )?)),
        Command::Worker(cli) => block_on(commands::worker::run(settings::work(
            &cli.generations,
            &cli.worker,
            &cli.models,
            &cli.simulated,
            &cli.metrics,
            &cli.cluster,
        )?)),
        Command::Ask(cli) => block_on(commands::ask::run(cli)),
        Command::Chat(cli) => block_on(commands::chat::run(cli)),
        Command::Models(cli) => block_on(commands::models::run(cli)),
        Command::Inspect(cli) => block_on(commands::inspect::run(&cli, settings::inspect(&cli)?)),
        Command::Config(cli::Config::Check(cli)) => commands::config::check(&cli),
        Command::Config(cli::Config::Docs) => commands::config::docs(),
        Command::Openapi => commands::openapi::document(),
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(command)
}
