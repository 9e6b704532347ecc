//! Logs: one line per event on standard error, as text or JSON. Prompts, completions and keys are never logged.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::cli::{LogFormat, Logs};

/// Installs the log for the whole process.
pub(crate) fn init(logs: &Logs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&logs.log).with_context(|| {
        format!("the log filter {:?} is not valid: use info, or info,tokenwire_core=debug", logs.log)
    })?;
    // lapin logs messages that a broker returns with their bodies, which are prompts. Whatever is wrong with the broker, the
    // queue's adapter logs itself. rustyline logs what is typed.
    let no_prompts =
        filter_fn(|event| !matches!(event.target().split("::").next(), Some("lapin" | "rustyline")));
    let lines = fmt::layer().with_writer(io::stderr).with_target(false);
    let lines = match logs.log_format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines.with_filter(no_prompts));
    subscriber.try_init().context("setting up the log")
}
