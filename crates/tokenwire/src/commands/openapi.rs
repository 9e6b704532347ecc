//! `tokenwire openapi`: what the API is, for programs.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

/// Prints the document that `GET /openapi.json` answers with.
pub(crate) fn document() -> anyhow::Result<ExitCode> {
    io::stdout().write_all(tokenwire_http::openapi_document().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
