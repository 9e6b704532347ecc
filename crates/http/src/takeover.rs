//! How an answer takes its connection along, out of HTTP.
//!
//! HTTP's machinery is made for answers that end soon. For one that goes on for minutes it costs buffers for every open
//! stream and several steps for every event, and for a WebSocket it is over anyway. A handler puts a [`Takeover`] into its
//! answer's extensions; our own server then sends the answer's head and leaves the connection to it. So such a connection
//! is nothing new to the server: limits, drains and hard stops hold for it as for any other. Whoever else has the answer
//! polls its body, if it has one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::net::TcpStream;

/// A connection that has ceased to speak HTTP.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    /// What the client has sent beyond its request.
    pub(crate) unread: Vec<u8>,
    /// The head of the answer, which is still to be sent.
    pub(crate) head: Vec<u8>,
    pub(crate) framing: Framing,
    /// How long the client may take no byte.
    pub(crate) patience: Duration,
}

/// How the end of an answer is told from a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By a final chunk.
    Chunked,
    /// By the closing of the connection, unless it is a reset: HTTP/1.0 knows no chunks.
    UntilClosed,
}

/// How it went on with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The answer is whole, and the client has sent this beyond its request: the beginning of its next one, or nothing.
    Answered(Vec<u8>),
    /// Both sides know that it is over, or can read why.
    Said,
    /// In the middle of something.
    CutOff,
    /// The client has left, or takes no bytes.
    Left,
}

type Afterlife = dyn FnOnce(Connection) -> BoxFuture<'static, (TcpStream, Ending)> + Send;

/// What is to become of a connection, for whoever takes it first.
#[derive(Clone)]
pub(crate) struct Takeover(Arc<Mutex<Option<Box<Afterlife>>>>);

impl Takeover {
    pub(crate) fn new<F>(afterlife: impl FnOnce(Connection) -> F + Send + 'static) -> Self
    where
        F: Future<Output = (TcpStream, Ending)> + Send + 'static,
    {
        Self(Arc::new(Mutex::new(Some(Box::new(|connection| afterlife(connection).boxed())))))
    }

    pub(crate) fn take(&self) -> Option<Box<Afterlife>> {
        // Nothing panics while holding the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
