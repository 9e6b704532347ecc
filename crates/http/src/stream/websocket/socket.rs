//! One open WebSocket: texts in, texts out. Pings, limits and the closing handshake are done here.

use std::time::Duration;

use axum::body::Bytes;
use futures::{SinkExt, StreamExt};
use serde::Serialize;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::stream::{sink::Sink, upgrade::Connection, write_timeout::WriteTimeoutStream};

/// How much is read at once, in bytes. Held by every socket; a larger message takes more while it arrives.
const BUFFER: usize = 4 * 1024;

/// How long a client may take to read the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Texts to be sent together.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    texts: Vec<Utf8Bytes>,
    ping: bool,
}

impl Messages {
    /// A JSON object.
    pub(crate) fn object(&mut self, object: &impl Serialize) {
        self.texts.push(serde_json::to_string(object).expect("our own types have string keys").into());
    }
}

impl Messages {
    /// Whether this only asks if the client is there.
    pub(crate) fn is_ping(&self) -> bool {
        self.ping && self.texts.is_empty()
    }
}

impl Sink for Messages {
    fn heartbeat(&mut self) {
        self.ping = true;
    }

    fn is_empty(&self) -> bool {
        self.texts.is_empty() && !self.ping
    }
}

/// What came from a client.
#[derive(Debug)]
pub(crate) enum Incoming {
    Text(Utf8Bytes),
    /// A binary message, which is not supported.
    Binary,
    /// A message above the limit.
    TooLarge,
    /// The client closes the socket, or has disconnected.
    Closed,
}

/// The client takes no more bytes.
#[derive(Debug)]
pub(crate) struct Disconnected;

/// Why the server closes a socket, by the names of RFC 6455 and its registry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CloseReason {
    /// Its lifetime is over.
    Lifetime,
    /// The server drains. Not 1001, which libraries treat as a good end.
    Restart,
    /// The log cannot be read.
    TryAgain,
    NotText,
    TooLarge,
}

impl CloseReason {
    fn frame(self) -> CloseFrame {
        let (code, reason) = match self {
            Self::Lifetime => (CloseCode::Normal, "open for as long as may be: connect again"),
            Self::Restart => (CloseCode::Restart, "the server goes away: connect again, and resume by GET"),
            Self::TryAgain => (CloseCode::Again, "the answer cannot be read now: resume by GET"),
            Self::NotText => (CloseCode::Unsupported, "send texts"),
            Self::TooLarge => (CloseCode::Size, "the message is too large"),
        };
        CloseFrame { code, reason: reason.into() }
    }
}

/// An open socket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: WebSocketStream<WriteTimeoutStream>,
    /// When anything last came from the client, pongs included.
    received: Instant,
}

impl Socket {
    /// Sends the response to the handshake. Gives the connection back when that fails.
    pub(super) async fn open(connection: Connection, max_message: usize) -> Result<Self, TcpStream> {
        let Connection { socket, unread, head, write_timeout, framing: _ } = connection;
        let mut stream = WriteTimeoutStream::new(socket, unread, write_timeout);
        if stream.write_all(&head).await.is_err() {
            return Err(stream.into_inner().0);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        Ok(Self { stream, received: Instant::now() })
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.stream.into_inner().into_inner().0
    }

    /// How long nothing has come from the client. A client that is there answers every ping.
    pub(crate) fn silent_for(&self) -> Duration {
        self.received.elapsed()
    }

    /// Waits for the next message. Pings are answered meanwhile. May be dropped and called again.
    pub(crate) async fn receive(&mut self) -> Incoming {
        loop {
            let message = self.stream.next().await;
            self.received = Instant::now();
            return match message {
                Some(Ok(Message::Text(text))) => Incoming::Text(text),
                Some(Ok(Message::Binary(_))) => Incoming::Binary,
                // The library answers pings and closes when it is polled again.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {
                    continue;
                }
                Some(Err(Error::Capacity(_))) => Incoming::TooLarge,
                Some(Err(error)) => {
                    tracing::debug!(%error, "a WebSocket broke off");
                    Incoming::Closed
                }
                None => Incoming::Closed,
            };
        }
    }

    /// Sends all messages. Fails when the client takes no bytes for the write timeout. When this is dropped, a part may have
    /// been sent.
    pub(crate) async fn send(&mut self, messages: &mut Messages) -> Result<(), Disconnected> {
        for text in messages.texts.drain(..) {
            self.stream.feed(Message::Text(text)).await.map_err(|_| Disconnected)?;
        }
        if std::mem::take(&mut messages.ping) {
            self.stream.feed(Message::Ping(Bytes::new())).await.map_err(|_| Disconnected)?;
        }
        self.stream.flush().await.map_err(|_| Disconnected)
    }

    /// Closes the socket with a reason.
    pub(crate) async fn close(&mut self, reason: CloseReason) -> Result<(), Disconnected> {
        let closing = self.stream.close(Some(reason.frame()));
        timeout(CLOSE_TIMEOUT, closing).await.map_err(|_| Disconnected)?.map_err(|_| Disconnected)
    }
}
