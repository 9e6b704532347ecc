//! `tokenwire ask`: one prompt, its answer on standard output.
//!
//! Text goes to standard output as it comes, exactly once; everything else goes to standard error. The client's own id
//! makes the prompt idempotent, so every step may be tried again: a cut connection, a restarted server and a replica that
//! drains cost time only.

mod answer;
mod client;

use std::{
    io::{IsTerminal, Read},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use tokenwire_core::GenerationId;
use tokio::time::timeout;

use answer::Answer;
use client::{Client, End};

use crate::cli;

/// After Ctrl-C, how long to wait for the server to say that the generation has stopped.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(cli: cli::Ask) -> anyhow::Result<ExitCode> {
    let prompt = read_prompt(cli.prompt)?;
    let patience =
        humantime::parse_duration(&cli.patience).context("--patience: expected a duration, such as 60s")?;
    let client = Client::new(&cli.url, GenerationId::fresh(), prompt, cli.model, patience)?;
    let mut answer = Answer::new();
    let end = tokio::select! {
        end = client.stream(&mut answer) => end,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("listening for Ctrl-C")?;
            End::Interrupted
        }
    };
    let code = match &end {
        End::Done => 0,
        End::Refused(_) => 1,
        End::Failed(_) => 3,
        End::TimedOut => 4,
        End::Expired => 5,
        End::Cancelled => 6,
        End::Unreachable(_) => 7,
        End::Interrupted => 130,
        End::NobodyReads => 141,
    };
    if matches!(end, End::Interrupted | End::NobodyReads) {
        stop(&client).await;
    }
    answer.finish();
    report(&end);
    if std::io::stderr().is_terminal() {
        say(&answer.figures());
    }
    Ok(ExitCode::from(code))
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

/// Stops the generation; a second Ctrl-C does not wait for it.
async fn stop(client: &Client) {
    tokio::select! {
        stopped = timeout(STOP_PATIENCE, client.cancel()) => if !matches!(stopped, Ok(Ok(()))) {
            say("could not tell the server to stop; it stops by itself once nobody reads");
        },
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn report(end: &End) {
    match end {
        End::Done | End::NobodyReads => {}
        End::Refused(message) | End::Failed(message) | End::Unreachable(message) => say(message),
        End::TimedOut => say("the generation took too long and was ended"),
        End::Expired => say("no worker began in time: try again, or start more workers"),
        End::Cancelled => say("the generation was stopped"),
        End::Interrupted => say("stopped"),
    }
}

#[expect(clippy::print_stderr, reason = "this is what standard error is for")]
fn say(message: &str) {
    eprintln!("tokenwire: {message}");
}
