//! Logs: one line per event on standard error, as text or JSON. Prompts, completions and keys are never logged.

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::cli::{LogFormat, Logs};

/// Installs the log for the whole process.
pub(crate) fn init(logs: &Logs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&logs.log).with_context(|| {
        format!("the log filter {:?} cannot be read: write info, or info,tokenwire_core=debug", logs.log)
    })?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let installed = match logs.log_format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!(error)).context("installing the log")
}
