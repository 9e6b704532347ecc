//! A client of the HTTP API: strict, fast, and able to cut itself.
//!
//! [`parser`] reads the bytes of a connection and does no I/O; the load tool feeds it from its own sockets. [`send`] makes
//! one request over one connection, which can be cut after any byte. Unlike client libraries, it tells an orderly end of a
//! body from every other end.

mod parser;
mod request;

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

pub use parser::{Malformed, Parser, Part, Text, leading_number};
pub use request::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than two heartbeats of the server.
const SILENCE: Duration = Duration::from_secs(25);

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub id: Option<u64>,
    /// `message` for text.
    pub event: String,
    pub data: String,
}

/// How an exchange, or its body, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The server completed the body.
    Whole,
    /// The connection was cut or refused.
    Cut(String),
    /// The client cut it: the budget of bytes is used up.
    Budget,
    /// Nothing came for longer than two heartbeats.
    Silence,
    /// The server sent what it never sends.
    Malformed(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Cut(error.kind().to_string())
    }
}

/// A response whose head has been read.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    stream: TcpStream,
    /// How many more bytes may be read.
    budget: usize,
    parser: Parser,
    frames: VecDeque<Frame>,
    body: String,
    end: Option<End>,
}

/// The address of a server on this machine.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Sends a request, and reads the head of the response. Reads at most `budget` bytes, head and body together.
///
/// # Errors
/// There is no head. Never [`End::Whole`].
pub async fn send(server: SocketAddr, request: &Request, budget: Option<usize>) -> Result<Response, End> {
    let stream = timeout(Duration::from_secs(5), TcpStream::connect(server));
    let mut stream = stream.await.map_err(|_| End::Cut("no connection".into()))??;
    stream.write_all(&request.clone().closing().to_bytes()).await?;
    let mut response = Response {
        status: 0,
        stream,
        budget: budget.unwrap_or(usize::MAX),
        parser: Parser::default(),
        frames: VecDeque::new(),
        body: String::new(),
        end: None,
    };
    while response.status == 0 {
        match response.end.take() {
            Some(end) => return Err(end),
            None => response.read().await,
        }
    }
    Ok(response)
}

impl Response {
    /// The next event.
    ///
    /// # Errors
    /// The body ended.
    pub async fn next(&mut self) -> Result<Frame, End> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(frame);
            }
            match &self.end {
                Some(end) => return Err(end.clone()),
                None => self.read().await,
            }
        }
    }

    /// The body of a response that is no stream, as far as it came.
    pub async fn text(mut self) -> String {
        while self.end.is_none() {
            self.read().await;
        }
        self.body
    }

    async fn read(&mut self) {
        self.end = self.try_read().await.err();
    }

    async fn try_read(&mut self) -> Result<(), End> {
        let mut buffer = [0; 2048];
        let most = self.budget.min(buffer.len());
        if most == 0 {
            return Err(End::Budget);
        }
        let read =
            timeout(SILENCE, self.stream.read(&mut buffer[..most])).await.map_err(|_| End::Silence)??;
        if read == 0 {
            return Err(End::Cut("end of connection".into()));
        }
        self.budget -= read;
        let mut is_whole = false;
        let Self { status, frames, body, .. } = self;
        let parsed = self.parser.feed(&buffer[..read], |part| {
            match part {
                Part::Head { status: of, .. } => *status = of,
                Part::Delta { id, text } => {
                    frames.push_back(Frame { id: Some(id), event: "message".into(), data: text.joined()? });
                }
                Part::Event { id, name, data } => {
                    let (event, data) = (parser::utf8(name)?.to_owned(), parser::utf8(data)?.to_owned());
                    frames.push_back(Frame { id, event, data });
                }
                Part::Body(bytes) => {
                    *body = String::from_utf8_lossy(bytes).into_owned();
                    is_whole = true;
                }
                Part::End => is_whole = true,
            }
            Ok(())
        });
        match parsed {
            Err(Malformed(what)) => Err(End::Malformed(what)),
            Ok(()) if is_whole => Err(End::Whole),
            Ok(()) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

    /// What a client with this budget gets from a server that sends these bytes and closes.
    async fn read(bytes: &str, budget: Option<usize>) -> (String, End) {
        let listener = TcpListener::bind(local(0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut client, _) = listener.accept().await.unwrap();
            // Reads the request: a close with bytes left unread would be a reset.
            let _ = client.read(&mut [0; 1024]).await;
            let _ = client.write_all(bytes.as_bytes()).await;
        };
        let client = async {
            let mut text = String::new();
            let mut response = match send(address, &Request::get("/"), budget).await {
                Ok(response) => response,
                Err(end) => return (text, end),
            };
            loop {
                match response.next().await {
                    Ok(frame) => text.push_str(&frame.data),
                    Err(end) => return (text, end),
                }
            }
        };
        tokio::join!(server, client).1
    }

    #[tokio::test]
    async fn an_orderly_end_is_told_from_a_cut() {
        let whole = format!("{HEAD}10\r\nid: 1\ndata: ab\n\n\r\nf\r\nid: 2\ndata: c\n\n\r\n0\r\n\r\n");
        assert_eq!(read(&whole, None).await, ("abc".into(), End::Whole));
        for length in HEAD.len()..whole.len() {
            let (text, end) = read(&whole[..length], None).await;
            assert!("abc".starts_with(&text) && matches!(end, End::Cut(_)), "{length}: {text} {end:?}");
        }
    }

    #[tokio::test]
    async fn a_client_is_cut_at_exactly_its_byte() {
        let whole = format!("{HEAD}1e\r\nid: 1\ndata: a\n\nid: 2\ndata: b\n\n\r\n0\r\n\r\n");
        let chunk = HEAD.len() + "1e\r\n".len();
        for (budget, text) in
            [(0, ""), (HEAD.len(), ""), (chunk + 14, ""), (chunk + 15, "a"), (chunk + 30, "ab")]
        {
            assert_eq!(read(&whole, Some(budget)).await, (text.into(), End::Budget), "{budget}");
        }
    }

    #[tokio::test]
    async fn events_before_malformed_bytes_are_delivered() {
        let bytes = format!("{HEAD}18\r\nid: 1\ndata: a\n\nnonsense\n\r\n");
        let (text, end) = read(&bytes, None).await;
        assert!(text == "a" && matches!(&end, End::Malformed(what) if what.contains("nonsense")), "{end:?}");
    }
}
