//! The right to hold one stream open.

use tokio::sync::OwnedSemaphorePermit;

use crate::metrics::OpenStream;

/// Counts as an open stream until it is dropped.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    _permit: OwnedSemaphorePermit,
    _counted: OpenStream,
}

impl StreamPermit {
    pub(crate) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: permit, _counted: OpenStream::begin() }
    }
}
