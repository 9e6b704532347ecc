//! One socket, as its server sees it: texts come and go, and whatever is about the connection itself is done here.

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

use crate::{reading::Sink, server::Patient, takeover::Connection};

/// How much is read at once, in bytes. Held by every socket; a larger message takes more while it arrives.
const BUFFER: usize = 4 * 1024;

/// How long a client may take to read why its socket is closed.
const FAREWELL: Duration = Duration::from_secs(1);

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
pub(crate) enum Heard {
    Text(Utf8Bytes),
    /// Bytes, which nobody here understands.
    Bytes,
    /// More than may be said at once.
    TooMuch,
    /// It closes, or is gone.
    Left,
}

/// The client takes nothing any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// Why the server closes a socket, by the names of RFC 6455 and its registry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    /// It has been open for as long as may be.
    Lifetime,
    /// The server goes away: connect again, elsewhere. Not 1001, which libraries take for a good end.
    Restart,
    /// A store is away.
    TryAgain,
    NotText,
    TooLarge,
}

impl Why {
    fn told(self) -> CloseFrame {
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
    stream: WebSocketStream<Patient>,
    /// When the client last said anything, if only that it is there.
    heard: Instant,
}

impl Socket {
    /// Sends the answer to the handshake. Gives the connection back if the client does not take it.
    pub(super) async fn open(connection: Connection, max_message: usize) -> Result<Self, TcpStream> {
        let Connection { socket, unread, head, patience, framing: _ } = connection;
        let mut stream = Patient::new(socket, unread, patience);
        if stream.write_all(&head).await.is_err() {
            return Err(stream.into_inner().0);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        Ok(Self { stream, heard: Instant::now() })
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.stream.into_inner().into_inner().0
    }

    /// How long the client has said nothing at all. It answers every ping.
    pub(crate) fn silent_for(&self) -> Duration {
        self.heard.elapsed()
    }

    /// Waits for the client's next word. Pings are answered meanwhile. May be dropped and called again.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            let message = self.stream.next().await;
            self.heard = Instant::now();
            return match message {
                Some(Ok(Message::Text(text))) => Heard::Text(text),
                Some(Ok(Message::Binary(_))) => Heard::Bytes,
                // What has to be answered is answered by the library, when it reads on.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {
                    continue;
                }
                Some(Err(Error::Capacity(_))) => Heard::TooMuch,
                Some(Err(error)) => {
                    tracing::debug!(%error, "a socket broke off");
                    Heard::Left
                }
                None => Heard::Left,
            };
        }
    }

    /// Sends all of it. Slowly, if the client takes it slowly; a client that takes nothing is gone. When this is dropped,
    /// part of it may be sent.
    pub(crate) async fn say(&mut self, messages: &mut Messages) -> Result<(), Gone> {
        for text in messages.texts.drain(..) {
            self.stream.feed(Message::Text(text)).await.map_err(|_| Gone)?;
        }
        if std::mem::take(&mut messages.ping) {
            self.stream.feed(Message::Ping(Bytes::new())).await.map_err(|_| Gone)?;
        }
        self.stream.flush().await.map_err(|_| Gone)
    }

    /// Says why, as the last word.
    pub(crate) async fn close(&mut self, why: Why) -> Result<(), Gone> {
        let closing = self.stream.close(Some(why.told()));
        timeout(FAREWELL, closing).await.map_err(|_| Gone)?.map_err(|_| Gone)
    }
}
