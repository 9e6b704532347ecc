//! `tokenwire ask`: one prompt, its answer on standard output.

use std::{
    io::{IsTerminal, Read},
    process::ExitCode,
};

use anyhow::Context;
use tokenwire_core::Message;

use super::client::{Question, Reasoning, Server, sampling, say};
use crate::cli::client as args;

pub(crate) async fn run(cli: args::Ask) -> anyhow::Result<ExitCode> {
    let args::Asking { server, patience, model, system, reasoning, sampling: choice } = cli.asking;
    let server = Server::new(&server)?;
    let sampling = sampling(choice)?;
    let prompt = Message::user(read_prompt(cli.prompt)?);
    let messages = system.map(Message::system).into_iter().chain([prompt]).collect();
    let reasoning = if reasoning { Reasoning::Shown } else { Reasoning::Hidden };
    let (end, answer) = server.ask(&Question { messages, model, sampling }, patience, reasoning).await?;
    if std::io::stderr().is_terminal() {
        say(&answer.figures());
    }
    Ok(ExitCode::from(end.code()))
}

fn read_prompt(prompt: String) -> anyhow::Result<String> {
    if prompt != "-" {
        return Ok(prompt);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("reading the prompt from standard input")?;
    // `echo prompt | tokenwire ask -` means the prompt without the line's end.
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}
