//! How a response takes its connection out of hyper.
//!
//! hyper holds buffers for every open connection and takes several steps for every event. A stream is open for minutes, and a
//! WebSocket does not speak HTTP, so both leave it: a handler puts an [`Upgrade`] into the extensions of its response, and our
//! server then gives the connection to it. Limits, drains and hard stops hold for such a connection as for any other. Tests
//! and other servers ignore the extension and read the body.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::net::TcpStream;

/// A connection that has left hyper.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    /// Bytes that the client sent after its request.
    pub(crate) unread: Vec<u8>,
    /// The head of the response, not sent yet.
    pub(crate) head: Vec<u8>,
    pub(crate) framing: Framing,
    /// How long a write may wait for the client.
    pub(crate) write_timeout: Duration,
}

/// How a client tells a complete response from one that broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By a final chunk.
    Chunked,
    /// By an orderly close of the connection: HTTP/1.0 has no chunks.
    UntilClosed,
}

/// How an upgraded connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The response is complete. These bytes arrived after the request: the beginning of the next one, or none.
    Complete(Vec<u8>),
    /// The connection was closed in order, with a reason that the client can read.
    Closed,
    /// The stream was cut before its end.
    CutOff,
    /// The client disconnected, or took no bytes for the write timeout.
    Disconnected,
}

type OnUpgrade = dyn FnOnce(Connection) -> BoxFuture<'static, (TcpStream, Ending)> + Send;

/// What to do with the connection. Runs once.
#[derive(Clone)]
pub(crate) struct Upgrade(Arc<Mutex<Option<Box<OnUpgrade>>>>);

impl Upgrade {
    pub(crate) fn new<F>(on_upgrade: impl FnOnce(Connection) -> F + Send + 'static) -> Self
    where
        F: Future<Output = (TcpStream, Ending)> + Send + 'static,
    {
        Self(Arc::new(Mutex::new(Some(Box::new(|connection| on_upgrade(connection).boxed())))))
    }

    pub(crate) fn take(&self) -> Option<Box<OnUpgrade>> {
        // Nothing panics while holding the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
