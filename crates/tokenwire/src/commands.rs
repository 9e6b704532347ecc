//! One file per command.

pub(crate) mod api;
pub(crate) mod ask;
pub(crate) mod chat;
mod client;
pub(crate) mod config;
pub(crate) mod inspect;
pub(crate) mod models;
pub(crate) mod openapi;
pub(crate) mod serve;
pub(crate) mod worker;

/// Says on standard error why a command failed, with every cause.
#[expect(clippy::print_stderr, reason = "this is what standard error is for")]
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("tokenwire: {error:#}");
}
