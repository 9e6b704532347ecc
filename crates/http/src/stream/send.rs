//! Sends a stream on a socket. All frames that are ready go out in one write. While none is ready, the connection costs no
//! more than this future.

use std::{
    future::{pending, poll_fn},
    io,
    pin::pin,
    time::Duration,
};

use axum::body::Bytes;
use bytes::Buf;
use tokio::{net::TcpStream, time::timeout};

use super::{
    frames::Frames,
    permit::StreamPermit,
    reader::{Cut, Encoder, StreamReader},
    sink::Sink,
    upgrade::{Connection, Ending, Framing},
};

/// How much a client may send during its response, in bytes: a pipelined request. More than that stays in the kernel.
const UNREAD: usize = 8 * 1024;

/// Output up to this size, in bytes, is put into its chunk on the stack.
const SMALL: usize = 1024;

/// Room around the content of a chunk: its size in hexadecimal, and two line breaks.
const AROUND: usize = 16 + 4;

/// The frames that a reader has not seen yet. Holds the permit while the stream is open.
pub(super) struct FrameSource<E> {
    reader: StreamReader<E>,
    frames: Frames,
    _permit: StreamPermit,
}

impl<E: Encoder<Frames>> FrameSource<E> {
    /// Boxed, because a future keeps room for every place that it moves a value to.
    pub(super) fn new(mut reader: StreamReader<E>, permit: StreamPermit) -> Box<Self> {
        let mut frames = Frames::default();
        reader.begin(&mut frames);
        Box::new(Self { reader, frames, _permit: permit })
    }

    /// Waits for the next frames and returns all that are ready; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Cut> {
        if self.frames.is_empty() && !self.reader.step(&mut self.frames).await? {
            return Ok(None);
        }
        Ok(Some(self.frames.take()))
    }
}

/// Sends a stream to the client until it ends or either side closes the connection. `None` if the body of the response has
/// already taken the stream.
pub(super) async fn send<E: Encoder<Frames>>(
    connection: Connection,
    source: Option<Box<FrameSource<E>>>,
) -> (TcpStream, Ending) {
    let Connection { socket, mut unread, head, framing, write_timeout } = connection;
    let sender = Sender { socket: &socket, framing, write_timeout };
    let sent = {
        let mut sending = pin!(sender.send_stream(head, source));
        let mut disconnected = pin!(disconnected(&socket, &mut unread));
        tokio::select! {
            biased;
            sent = &mut sending => sent,
            () = &mut disconnected => Err(SendError::Disconnected),
        }
    };
    let ending = match sent {
        Ok(()) => Ending::Complete(unread),
        Err(SendError::Cut) => Ending::CutOff,
        Err(SendError::Disconnected) => Ending::Disconnected,
    };
    (socket, ending)
}

struct Sender<'a> {
    socket: &'a TcpStream,
    framing: Framing,
    write_timeout: Duration,
}

/// Why a stream was not sent to its end.
enum SendError {
    Cut,
    Disconnected,
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        tracing::debug!(%error, "a reader disconnected");
        Self::Disconnected
    }
}

impl From<Cut> for SendError {
    fn from(cut: Cut) -> Self {
        tracing::debug!(%cut, "cut a stream");
        Self::Cut
    }
}

impl Sender<'_> {
    async fn send_stream<E: Encoder<Frames>>(
        &self,
        head: Vec<u8>,
        source: Option<Box<FrameSource<E>>>,
    ) -> Result<(), SendError> {
        self.send(&head).await?;
        drop(head);
        if let Some(mut source) = source {
            while let Some(frames) = source.next().await? {
                if let Some(rest) = self.send_now(frames)? {
                    self.send(&rest).await?;
                }
            }
        }
        if self.framing == Framing::Chunked {
            self.send(b"0\r\n\r\n").await?;
        }
        Ok(())
    }

    /// Writes as much as the socket takes, and returns the rest, framed. The original is dropped, so a slow reader holds one
    /// copy of what it has not taken, and nothing of what follows.
    fn send_now(&self, piece: Bytes) -> io::Result<Option<Bytes>> {
        match self.framing {
            // A chunk without content would be the final one.
            _ if piece.is_empty() => Ok(None),
            Framing::UntilClosed => self.send_what_fits(piece),
            Framing::Chunked if piece.len() <= SMALL => {
                let mut small = [0; SMALL + AROUND];
                let mut free = &mut small[..];
                chunk(&piece, &mut free)?;
                let used = SMALL + AROUND - free.len();
                let bytes = small.get(..used).unwrap_or_default();
                let left = bytes.get(self.try_write(bytes)?..).unwrap_or_default();
                Ok((!left.is_empty()).then(|| Bytes::copy_from_slice(left)))
            }
            Framing::Chunked => {
                let mut large = Vec::with_capacity(piece.len() + AROUND);
                chunk(&piece, &mut large)?;
                drop(piece);
                self.send_what_fits(large.into())
            }
        }
    }

    fn send_what_fits(&self, mut bytes: Bytes) -> io::Result<Option<Bytes>> {
        bytes.advance(self.try_write(&bytes)?);
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// Writes without waiting. Returns how many bytes the socket took.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Waits until the client has taken all bytes. Each wait for the socket is limited by the write timeout.
    async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes)? {
                // Boxed, because most readers never need it.
                0 => Box::pin(timeout(self.write_timeout, self.socket.writable())).await??,
                written => bytes = bytes.get(written..).unwrap_or_default(),
            }
        }
        Ok(())
    }
}

fn chunk(content: &[u8], into: &mut impl io::Write) -> io::Result<()> {
    into.write_all(hexadecimal(content.len(), &mut [0; 16]))?;
    for part in [b"\r\n", content, b"\r\n"] {
        into.write_all(part)?;
    }
    Ok(())
}

/// The digits of a number. Every chunk has one, and `write!` took as long as the rest of the chunk.
fn hexadecimal(mut number: usize, digits: &mut [u8; 16]) -> &[u8] {
    let mut begin = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef".get(number % 16).copied().unwrap_or_default();
        number /= 16;
        begin -= 1;
        if number == 0 {
            break;
        }
    }
    digits.get(begin..).unwrap_or_default()
}

/// Waits until the client closes the connection, and keeps the bytes it sends before that.
async fn disconnected(socket: &TcpStream, unread: &mut Vec<u8>) {
    while unread.len() < UNREAD {
        let readable = poll_fn(|cx| socket.poll_read_ready(cx)).await;
        let mut buffer = [0; 1024];
        match readable.and_then(|()| socket.try_read(&mut buffer)) {
            Ok(0) => return,
            Ok(count) => unread.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
    // The write timeout finds a disconnected client from here on.
    pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_in_hexadecimal() {
        for size in (0..70_000).chain([usize::MAX - 1, usize::MAX]) {
            assert_eq!(hexadecimal(size, &mut [0; 16]), format!("{size:x}").as_bytes());
        }
    }
}
