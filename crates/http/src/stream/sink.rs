//! The output that an encoder writes to.

/// Output that has not been sent yet.
pub(crate) trait Sink: Default + Send {
    /// Adds output without content, so that proxies and clients see that the connection is alive.
    fn heartbeat(&mut self);

    fn is_empty(&self) -> bool;
}
