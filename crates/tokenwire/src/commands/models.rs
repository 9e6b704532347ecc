//! `tokenwire models`: what a running server can be asked.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::client::Server;
use crate::cli::client as args;

pub(crate) async fn run(cli: args::Models) -> anyhow::Result<ExitCode> {
    let models = match Server::new(&cli.server)?.models().await {
        Ok(models) => models,
        Err(end) => {
            end.report();
            return Ok(ExitCode::from(end.code()));
        }
    };
    let mut out = io::stdout().lock();
    if cli.json {
        serde_json::to_writer_pretty(&mut out, &models)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    for model in models {
        let mark = if model.default { " (default)" } else { "" };
        writeln!(out, "{}{mark}", model.id)?;
    }
    Ok(ExitCode::SUCCESS)
}
