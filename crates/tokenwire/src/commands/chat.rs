//! `tokenwire chat`: a conversation in the terminal, or from a pipe.
//!
//! The conversation lives here, for as long as the command runs; the server is told all of it with every turn. Nothing of it
//! is written to disk.

mod input;
mod lines;
mod session;

use std::process::ExitCode;

use super::client::{End, Reasoning, Server, sampling, say};
use crate::cli::client as args;
use input::Input;
use lines::{Lines, Next};
use session::Session;

const HELP: &str = "commands:
/model NAME   changes the model; /model alone lists the models
/system TEXT  sets the system message; /system alone removes it
/reset        starts a new conversation
/quit         ends, like Ctrl-D
Ctrl-C stops an answer and keeps its text so far. A line that begins with // is sent with one slash.";

pub(crate) async fn run(cli: args::Chat) -> anyhow::Result<ExitCode> {
    let args::Asking { server: address, patience, model, system, reasoning, sampling: choice } = cli.asking;
    let server = Server::new(&address)?;
    let mut session = Session::new(model, system, sampling(choice)?);
    let reasoning = if reasoning { Reasoning::Shown } else { Reasoning::Hidden };
    let mut lines = Lines::open()?;
    if lines.are_typed() {
        say(&format!("a conversation with {}; /help lists the commands, Ctrl-D ends it", address.url));
    }
    loop {
        let line = match lines.next().await? {
            Next::Line(line) => line,
            Next::Interrupted if lines.are_typed() => {
                say("Ctrl-D or /quit ends the conversation");
                continue;
            }
            Next::Interrupted => return Ok(ExitCode::from(End::Interrupted.code())),
            Next::End => return Ok(ExitCode::SUCCESS),
        };
        match Input::parse(&line) {
            Input::Nothing => {}
            Input::Turn(prompt) => {
                let (end, answer) = server.ask(&session.question(prompt), patience, reasoning).await?;
                session.keep(prompt, answer.text());
                // Later lines of a pipe count on this answer; a person sees what happened, and decides.
                let whole = matches!(end, End::Done(_));
                if matches!(end, End::OutputClosed) || !(whole || lines.are_typed()) {
                    return Ok(ExitCode::from(end.code()));
                }
            }
            Input::Model(name) => choose(&server, &mut session, name).await,
            Input::System(text) => session.system(text),
            Input::Reset => session.reset(),
            Input::Help => say(HELP),
            Input::Quit => return Ok(ExitCode::SUCCESS),
            Input::Unknown(command) => say(&format!("there is no {command}; /help lists the commands")),
        }
    }
}

/// Goes on with another model, or lists them.
async fn choose(server: &Server, session: &mut Session, name: Option<&str>) {
    let models = match server.models().await {
        Ok(models) => models,
        Err(end) => return end.report(),
    };
    match name {
        Some(name) if models.iter().any(|model| model.id == name) => session.model(name),
        Some(name) => {
            let there = models.into_iter().map(|model| model.id).collect::<Vec<_>>().join(", ");
            say(&format!("there is no model {name}; there are: {there}"));
        }
        None => {
            for model in models {
                let chosen = session.chosen().map_or(model.default, |chosen| model.id == chosen);
                say(&format!("{} {}", if chosen { '*' } else { ' ' }, model.id));
            }
        }
    }
}
