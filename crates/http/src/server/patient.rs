//! A socket that gives up on a peer who takes no bytes. What was read from it before is read from it first.
//!
//! A reader that is connected and does not read holds a stream, a connection and its buffers for ever: its machine
//! answers for it, so nothing looks broken. Reading needs no such limit here: hyper limits heads, and the front ends bodies.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

#[derive(Debug)]
pub(crate) struct Patient {
    stream: TcpStream,
    unread: Vec<u8>,
    patience: Duration,
    /// Runs while a write waits for the peer; boxed, because most connections never need it.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Whether a write waits, for whoever cannot see this socket.
    behind: Arc<AtomicBool>,
}

impl Patient {
    pub(crate) fn new(stream: TcpStream, unread: Vec<u8>, patience: Duration) -> Self {
        Self { stream, unread, patience, waiting: None, behind: Arc::default() }
    }

    /// The socket, and what is still to be read before anything from it.
    pub(crate) fn into_inner(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.unread)
    }

    pub(super) fn behind(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.behind)
    }

    /// What became of a write, or an error when it has waited too long.
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.behind.store(written.is_pending(), Ordering::Relaxed);
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let count = self.unread.len().min(buf.remaining());
            let rest = self.unread.split_off(count);
            buf.put_slice(&self.unread);
            self.unread = rest;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}
