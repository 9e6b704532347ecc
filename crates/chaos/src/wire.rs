//! One HTTP exchange over a socket of our own, which can be cut at any byte and tells a polite end of a body from any
//! other: what client libraries are built to hide.

use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The server says something every ten seconds.
const SILENCE: Duration = Duration::from_secs(25);

/// A request, ready to send.
#[derive(Clone, Debug)]
pub(crate) struct Request(String);

impl Request {
    pub(crate) fn get(path: &str, cursor: u64) -> Self {
        let cursor = if cursor == 0 { String::new() } else { format!("last-event-id: {cursor}\r\n") };
        Self(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{cursor}\r\n"))
    }

    pub(crate) fn post(path: &str, body: &str, cursor: u64) -> Self {
        let cursor = if cursor == 0 { String::new() } else { format!("last-event-id: {cursor}\r\n") };
        Self(format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n{cursor}\r\n{body}",
            body.len()
        ))
    }

    pub(crate) fn delete(path: &str) -> Self {
        Self(format!("DELETE {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
    }
}

/// How an exchange, or its body, came to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As the server wanted.
    Polite,
    /// In the middle.
    Cut(String),
    /// By us: the budget of bytes is used up.
    Ours,
    /// Nothing came for longer than the server may be silent.
    Silence,
    /// The server does not speak HTTP.
    Broken(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Cut(error.kind().to_string())
    }
}

/// An answer whose head has been read.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    is_chunked: bool,
    socket: Socket,
    chunk: Chunk,
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    /// Read, and not yet understood.
    pending: Vec<u8>,
    /// How many more bytes may be read.
    budget: usize,
}

#[derive(Debug)]
enum Chunk {
    Size,
    Data { left: usize },
    Break,
}

/// Sends a request, and reads the head of the answer. Reads at most `budget` bytes, the body's included.
pub(crate) async fn send(port: u16, request: &Request, budget: Option<usize>) -> Result<Response, End> {
    let stream = timeout(Duration::from_secs(5), TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
    let stream = stream.await.map_err(|_| End::Cut("no connection".into()))??;
    let mut socket = Socket { stream, pending: Vec::new(), budget: budget.unwrap_or(usize::MAX) };
    socket.stream.write_all(request.0.as_bytes()).await?;
    let head = loop {
        if let Some(end) = socket.pending.windows(4).position(|four| four == b"\r\n\r\n") {
            break socket.take(end + 4);
        }
        socket.fill().await?;
    };
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| End::Broken(format!("a head without a status: {head:?}")))?;
    let is_chunked = head.contains("\r\ntransfer-encoding: chunked\r\n");
    Ok(Response { status, is_chunked, socket, chunk: Chunk::Size })
}

impl Response {
    /// The next bytes of the body, at least one.
    ///
    /// # Errors
    /// The end of the body, of whichever kind.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>, End> {
        loop {
            let pending = &self.socket.pending;
            match self.chunk {
                _ if !self.is_chunked => {
                    if !pending.is_empty() {
                        return Ok(self.socket.take(usize::MAX));
                    }
                }
                Chunk::Data { left } => {
                    if !pending.is_empty() {
                        let data = self.socket.take(left);
                        let left = left - data.len();
                        self.chunk = if left == 0 { Chunk::Break } else { Chunk::Data { left } };
                        return Ok(data);
                    }
                }
                Chunk::Break => {
                    if pending.len() >= 2 {
                        let line = self.socket.take(2);
                        if line != b"\r\n" {
                            return Err(End::Broken("a chunk is longer than it says".into()));
                        }
                        self.chunk = Chunk::Size;
                        continue;
                    }
                }
                Chunk::Size => {
                    if let Some(end) = pending.windows(2).position(|two| two == b"\r\n") {
                        let line = String::from_utf8_lossy(&self.socket.take(end + 2)).into_owned();
                        let left = usize::from_str_radix(line.trim_end(), 16)
                            .map_err(|_| End::Broken(format!("a chunk without a size: {line:?}")))?;
                        if left == 0 {
                            return Err(End::Polite);
                        }
                        self.chunk = Chunk::Data { left };
                        continue;
                    }
                }
            }
            self.socket.fill().await?;
        }
    }

    /// The body of an answer that is no stream.
    pub(crate) async fn text(mut self) -> String {
        let mut text = Vec::new();
        while let Ok(bytes) = self.next().await {
            text.extend(bytes);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Socket {
    fn take(&mut self, most: usize) -> Vec<u8> {
        let most = most.min(self.pending.len());
        self.pending.drain(..most).collect()
    }

    async fn fill(&mut self) -> Result<(), End> {
        let mut bytes = [0; 2048];
        let most = self.budget.min(bytes.len());
        let Some(room) = bytes.get_mut(..most).filter(|room| !room.is_empty()) else { return Err(End::Ours) };
        let read = timeout(SILENCE, self.stream.read(room)).await.map_err(|_| End::Silence)??;
        if read == 0 {
            return Err(End::Cut("end of connection".into()));
        }
        self.budget -= read;
        self.pending.extend(room.iter().take(read));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

    /// What a reader with this budget gets from a server that says this and closes.
    async fn read(says: &str, budget: Option<usize>) -> (String, End) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            let (mut client, _) = listener.accept().await.unwrap();
            // The request: with bytes left unread a close would be a reset.
            let _ = client.read(&mut [0; 1024]).await;
            let _ = client.write_all(says.as_bytes()).await;
        };
        let client = async {
            let mut text = String::new();
            let mut response = match send(port, &Request::get("/", 0), budget).await {
                Ok(response) => response,
                Err(end) => return (text, end),
            };
            loop {
                match response.next().await {
                    Ok(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
                    Err(end) => return (text, end),
                }
            }
        };
        tokio::join!(server, client).1
    }

    #[tokio::test]
    async fn a_polite_end_is_told_from_a_cut_one() {
        let whole = format!("{HEAD}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(read(&whole, None).await, ("abcde".into(), End::Polite));
        for length in HEAD.len()..whole.len() - 4 {
            let (text, end) = read(&whole[..length], None).await;
            assert!("abcde".starts_with(&text) && matches!(end, End::Cut(_)), "{length}: {text} {end:?}");
        }
    }

    #[tokio::test]
    async fn a_reader_is_cut_at_exactly_its_byte() {
        let whole = format!("{HEAD}5\r\nabcde\r\n0\r\n\r\n");
        for (budget, text) in [(0, ""), (HEAD.len(), ""), (HEAD.len() + 4, "a"), (HEAD.len() + 8, "abcde")] {
            assert_eq!(read(&whole, Some(budget)).await, (text.into(), End::Ours));
        }
    }
}
