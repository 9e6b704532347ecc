//! Where lines come from: typed with an editor, or piped.

use std::{
    io::{self, IsTerminal},
    thread,
};

use anyhow::Context;
use rustyline::{Behavior, Config, Editor, error::ReadlineError, history::MemHistory};
use tokio::{signal::ctrl_c, sync::mpsc, task::block_in_place};

pub(super) enum Lines {
    Typed(Box<Editor<(), MemHistory>>),
    Piped(mpsc::Receiver<io::Result<String>>),
}

pub(super) enum Next {
    Line(String),
    Interrupted,
    End,
}

impl Lines {
    pub(super) fn open() -> anyhow::Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Piped(piped()));
        }
        // The prompt belongs to the terminal, also when standard output is a file that collects the answers.
        let config = Config::builder().behavior(Behavior::PreferTerm).auto_add_history(true).build();
        let editor = Editor::with_history(config.clone(), MemHistory::with_config(&config));
        Ok(Self::Typed(Box::new(editor.context("preparing the terminal")?)))
    }

    pub(super) fn are_typed(&self) -> bool {
        matches!(self, Self::Typed(_))
    }

    /// Waits for the next line.
    pub(super) async fn next(&mut self) -> anyhow::Result<Next> {
        match self {
            Self::Typed(editor) => loop {
                return match block_in_place(|| editor.readline("> ")) {
                    Ok(line) => Ok(Next::Line(line)),
                    Err(ReadlineError::Interrupted) => Ok(Next::Interrupted),
                    Err(ReadlineError::Eof) => Ok(Next::End),
                    // The window has another size now.
                    Err(ReadlineError::Signal(_)) => continue,
                    Err(error) => Err(error).context("reading from the terminal"),
                };
            },
            Self::Piped(lines) => tokio::select! {
                line = lines.recv() => match line {
                    Some(line) => line.map(Next::Line).context("reading standard input"),
                    None => Ok(Next::End),
                },
                interrupted = ctrl_c() => {
                    interrupted.context("listening for Ctrl-C")?;
                    Ok(Next::Interrupted)
                }
            },
        }
    }
}

/// A read that waits for a pipe cannot be called off, so it has a thread for which the end of the process need not wait.
fn piped() -> mpsc::Receiver<io::Result<String>> {
    // The next line may wait for its turn; more would only move the pipe's content into memory.
    let (sender, lines) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lines() {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}
