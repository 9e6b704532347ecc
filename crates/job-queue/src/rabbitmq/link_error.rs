//! Errors of a link, as text for operators.

use std::sync::Arc;

use lapin::ErrorKind;

/// Why a link is not usable. Nothing is decided by it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct LinkError(Arc<str>);

impl LinkError {
    pub(super) fn new(reason: impl Into<Arc<str>>) -> Self {
        Self(reason.into())
    }
}

impl From<lapin::Error> for LinkError {
    fn from(error: lapin::Error) -> Self {
        Self::new(words(&error))
    }
}

/// The message of lapin's error, without its classification.
pub(super) fn words(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::IOError(error) => error.to_string(),
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        _ => error.to_string(),
    }
}
