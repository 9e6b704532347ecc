//! The accept loop: connections, and how they end.
//!
//! Our own loop over hyper's HTTP/1 rather than a ready-made one, because a server of streams needs three things of it:
//! little memory for a connection that is open for minutes, limits on what a connection may cost before it has asked
//! anything, and a drain that knows a stream from a short answer.
//!
//! ```text
//! soft stop   no new connections; idle ones close; short answers finish; streams are aborted and resume elsewhere
//! hard stop   every connection is dropped
//! ```
//!
//! A connection that leaves hyper, for a stream or a WebSocket, keeps its task and its slot, and is drained and stopped like
//! any other. After a stream it speaks HTTP again.
//!
//! TLS is a proxy's.

mod close;
mod connection;

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use self::connection::{ConnectionService, PendingUpgrade};
use crate::{
    config::Config,
    stream::{
        upgrade::{Connection, Ending, Upgrade},
        write_timeout::WriteTimeoutStream,
    },
};

/// How long to stop accepting when the process lacks something, most likely file descriptors: other connections have to
/// end first.
const OUT_OF_RESOURCES: Duration = Duration::from_millis(200);

/// How much hyper may collect for a client that reads slowly, in bytes. Its own default is six times that, and there may be
/// ten thousand such clients.
const BUFFER: usize = 64 * 1024;

/// Serves a router on a socket that the caller owns, until a stop is requested. Returns when every connection has ended:
/// some time after `soft` fires, or at once when `hard` does. A soft stop waits for clients that send their body slowly or take no
/// bytes, each bounded by its timeout. Dropping the future is a hard stop.
pub(crate) async fn serve_router(
    listener: TcpListener,
    router: Router,
    config: Config,
    soft: CancellationToken,
    hard: CancellationToken,
) {
    let (protocol, write_timeout) = (protocol(&config), config.write_timeout);
    let service = Arc::new(Service { protocol, router, write_timeout, soft: soft.clone() });
    let slots = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = soft.cancelled() => break,
            () = hard.cancelled() => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                connections.spawn(Arc::clone(&service).serve(stream, slot));
            }
            // The client disconnected before it was accepted; nothing to do.
            Err(error) if client_disconnected(&error) => {
                tracing::debug!(%error, "a client disconnected before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::select! {
                    () = soft.cancelled() => {}
                    () = hard.cancelled() => {}
                    () = sleep(OUT_OF_RESOURCES) => {}
                }
            }
        }
    }
    // Connections in the backlog are refused, so that clients go to another replica.
    drop(listener);
    tracing::info!(connections = connections.len(), "draining connections");
    loop {
        tokio::select! {
            biased;
            () = hard.cancelled() => return connections.shutdown().await,
            ended = connections.join_next() => match ended {
                Some(ended) => report(ended),
                None => return,
            },
        }
    }
}

/// A connection, once a slot is free. May be dropped: the slot is then free again.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _peer) = listener.accept().await?;
    // Every frame is sent at once, so that text does not arrive in bursts.
    stream.set_nodelay(true)?;
    Ok((stream, slot))
}

fn client_disconnected(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    // macOS gives the last two when an option is set on a closed socket.
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput | NotConnected
    )
}

fn protocol(config: &Config) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_header_size(config.max_head)
        .max_buf_size(BUFFER.max(config.max_head));
    protocol
}

/// What all connections of a listener share.
struct Service {
    protocol: http1::Builder,
    router: Router,
    /// How long a write may wait for the client.
    write_timeout: Duration,
    soft: CancellationToken,
}

impl Service {
    /// Serves one connection until either side closes it. What this future holds is held for every open stream.
    async fn serve(self: Arc<Self>, mut socket: TcpStream, slot: OwnedSemaphorePermit) {
        let mut unread = Vec::new();
        loop {
            // Boxed, so that an open stream holds no memory for hyper.
            let upgraded = Box::pin(self.speak_http(socket, unread)).await;
            let Some((connection, upgrade, reusable)) = upgraded else { break };
            let Some(on_upgrade) = upgrade.take() else { break };
            let (returned, ending) = on_upgrade(connection).await;
            socket = returned;
            match ending {
                Ending::Complete(more) if reusable => unread = more,
                Ending::Complete(_) | Ending::Closed => break Box::pin(close::linger(socket)).await,
                Ending::CutOff => break close::cut(&socket),
                Ending::Disconnected => break,
            }
        }
        drop(slot);
    }

    /// Speaks HTTP until the connection is closed, or until a response takes it out of hyper: then also whether another
    /// request may follow.
    async fn speak_http(&self, socket: TcpStream, unread: Vec<u8>) -> Option<(Connection, Upgrade, bool)> {
        let write_timeout = self.write_timeout;
        let service = ConnectionService::new(self.router.clone());
        let stream = WriteTimeoutStream::new(socket, unread, write_timeout);
        let write_pending = stream.write_pending();
        let mut http = self.protocol.serve_connection(TokioIo::new(stream), service.clone());
        let mut draining = pin!(self.soft.cancelled());
        let mut shutting_down = false;
        let next = poll_fn(|cx| {
            if !shutting_down && draining.as_mut().poll(cx).is_ready() {
                shutting_down = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            match http.poll_without_shutdown(cx) {
                Poll::Ready(ended) => Poll::Ready(Err(ended)),
                // An earlier response on this connection has to be sent first.
                Poll::Pending if write_pending.load(Ordering::Relaxed) => Poll::Pending,
                Poll::Pending => service.pending().map_or(Poll::Pending, |upgrade| Poll::Ready(Ok(upgrade))),
            }
        })
        .await;
        let parts = http.into_parts();
        let (socket, rest) = parts.io.into_inner().into_inner();
        match next {
            Ok(PendingUpgrade { upgrade, head, framing, reusable }) => {
                let unread = [&parts.read_buf, &*rest].concat();
                Some((Connection { socket, unread, head, framing, write_timeout }, upgrade, reusable))
            }
            Err(ended) => {
                close::close(socket, ended, &parts.read_buf).await;
                None
            }
        }
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task panicked");
    }
}
