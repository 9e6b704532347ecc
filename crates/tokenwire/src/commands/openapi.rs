//! `tokenwire openapi`: what the API is, for programs and for people.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

/// Prints the document that `GET /openapi.json` answers with.
pub(crate) fn document() -> anyhow::Result<ExitCode> {
    print(tokenwire_http::openapi::document())
}

/// Prints `docs/api.md`.
pub(crate) fn docs() -> anyhow::Result<ExitCode> {
    print(&tokenwire_http::openapi::reference())
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
