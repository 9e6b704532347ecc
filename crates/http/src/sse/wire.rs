//! Pieces of a stream on a socket: what there is to give is written at once, in one write, and while there is nothing the
//! connection costs no more than this future.

use std::{
    future::{pending, poll_fn},
    io,
    pin::pin,
    time::Duration,
};

use axum::body::Bytes;
use bytes::Buf;
use tokio::{net::TcpStream, time::timeout};

use super::answer::Answering;
use crate::{
    reading::{Cut, Encoder},
    takeover::{Connection, Ending, Framing},
};

/// How much a client may send while it is answered, in bytes: the next request, if it is in a hurry. What comes beyond waits
/// in the kernel.
const UNREAD: usize = 8 * 1024;

/// Pieces up to this size are put into their chunk on the stack.
const SMALL: usize = 1024;

/// Room around the content of a chunk: its size in hexadecimal, and two line breaks.
const AROUND: usize = 16 + 4;

/// Gives an answer to the client, until one side has had enough. One that somebody else has is empty here.
pub(super) async fn give<E: Encoder>(
    connection: Connection,
    answering: Option<Box<Answering<E>>>,
) -> (TcpStream, Ending) {
    let Connection { socket, mut unread, head, framing, patience } = connection;
    let wire = Wire { socket: &socket, framing, patience };
    let given = {
        let mut giving = pin!(wire.give(head, answering));
        let mut leaving = pin!(leaves(&socket, &mut unread));
        tokio::select! {
            biased;
            given = &mut giving => given,
            () = &mut leaving => Err(Over::Left),
        }
    };
    let ending = match given {
        Ok(()) => Ending::Answered(unread),
        Err(Over::Cut) => Ending::CutOff,
        Err(Over::Left) => Ending::Left,
    };
    (socket, ending)
}

struct Wire<'a> {
    socket: &'a TcpStream,
    framing: Framing,
    patience: Duration,
}

/// Why not all was given.
enum Over {
    Cut,
    Left,
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Self {
        tracing::debug!(%error, "a reader has left");
        Self::Left
    }
}

impl From<Cut> for Over {
    fn from(cut: Cut) -> Self {
        tracing::debug!(%cut, "cut a stream");
        Self::Cut
    }
}

impl Wire<'_> {
    async fn give<E: Encoder>(
        &self,
        head: Vec<u8>,
        answering: Option<Box<Answering<E>>>,
    ) -> Result<(), Over> {
        self.send(&head).await?;
        drop(head);
        if let Some(mut answering) = answering {
            while let Some(piece) = answering.next().await? {
                if let Some(rest) = self.send_now(piece)? {
                    self.send(&rest).await?;
                }
            }
        }
        if self.framing == Framing::Chunked {
            self.send(b"0\r\n\r\n").await?;
        }
        Ok(())
    }

    /// Gives a piece, or as much of it as the socket takes; then what is left, framed. The piece itself is let go: a reader
    /// that is behind holds one copy of what it did not take, and nothing of what comes after.
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

    /// How many bytes the socket takes now.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Waits until the client has taken all of it, for as long as it takes any.
    async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes)? {
                // Boxed, because most readers never need it.
                0 => Box::pin(timeout(self.patience, self.socket.writable())).await??,
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

/// The digits of a number. Every piece has one, and formatting took as long as writing the rest of it.
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

/// Waits until the client closes the connection, and keeps what it sends before.
async fn leaves(socket: &TcpStream, unread: &mut Vec<u8>) {
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
    // It will be noticed when it takes no more bytes.
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
