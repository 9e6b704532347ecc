//! A socket whose writes fail when the client takes no bytes for some time. Bytes that were read from the socket before are
//! read from it first.
//!
//! A client that is connected and does not read would hold a stream, a connection and its buffers for ever: its kernel
//! acknowledges packets, so nothing looks broken. Reads need no timeout here: hyper limits heads, and the front ends bodies.

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
pub(crate) struct WriteTimeoutStream {
    stream: TcpStream,
    unread: Vec<u8>,
    timeout: Duration,
    /// Runs while a write waits for the client. Boxed, because most connections never need it.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Whether a write waits. Shared with the server, because hyper owns this stream.
    write_pending: Arc<AtomicBool>,
}

impl WriteTimeoutStream {
    pub(crate) fn new(stream: TcpStream, unread: Vec<u8>, timeout: Duration) -> Self {
        Self { stream, unread, timeout, waiting: None, write_pending: Arc::default() }
    }

    /// The socket, and the bytes that were read from it before.
    pub(crate) fn into_inner(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.unread)
    }

    pub(crate) fn write_pending(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.write_pending)
    }

    /// The result of a write, or an error when it has waited too long.
    fn checked(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.write_pending.store(written.is_pending(), Ordering::Relaxed);
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let timeout = self.timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client took no bytes for the write timeout",
        )))
    }
}

impl AsyncWrite for WriteTimeoutStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.checked(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.checked(cx, written)
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

impl AsyncRead for WriteTimeoutStream {
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
