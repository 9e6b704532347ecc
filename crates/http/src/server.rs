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
//! A connection that ceases to speak HTTP, for a stream or a WebSocket, keeps its task and its slot, and what is said here
//! holds for it. After a stream it speaks HTTP again.
//!
//! TLS is a proxy's.

mod closing;
mod patient;
mod surface;

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
use tokenwire_core::Generations;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::patient::Patient;
use self::surface::{Leaving, Surface};
use crate::{
    config::Config,
    routes::router,
    takeover::{Connection, Ending, Takeover},
};

/// How long to leave the listener alone when the process is out of something, most likely file descriptors: others have
/// to give theirs back first.
const OUT_OF_RESOURCES: Duration = Duration::from_millis(200);

/// How much hyper may collect for a client that reads slowly, in bytes. Its own default is six times that, and there may be
/// ten thousand such clients.
const BUFFER: usize = 64 * 1024;

/// Serves the front ends on a socket that the caller owns, until it is told to stop. Returns when every connection has
/// ended: some time after `soft` fires, or at once when `hard` does. What holds a soft stop up is a client that sends its
/// body slowly or takes no bytes, each bounded by its time-out. Dropping the future is a hard stop.
pub async fn serve(
    listener: TcpListener,
    generations: Generations,
    config: Config,
    soft: CancellationToken,
    hard: CancellationToken,
) {
    let router = router(generations, &config, soft.clone());
    accept_until_stopped(listener, router, config, soft, hard).await;
}

/// Serves a router as [`serve`] does.
pub(crate) async fn accept_until_stopped(
    listener: TcpListener,
    router: Router,
    config: Config,
    soft: CancellationToken,
    hard: CancellationToken,
) {
    let (protocol, patience) = (protocol(&config), config.write_timeout);
    let service = Arc::new(Service { protocol, router, patience, soft: soft.clone() });
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
            // The client went away while it waited: its loss.
            Err(error) if went_away(&error) => tracing::debug!(%error, "a connection ended before it began"),
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
    // What still waits in the backlog is refused, and goes to another replica.
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

/// A connection, once there is room for one. May be dropped: a permit without a connection goes back.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _peer) = listener.accept().await?;
    // Every frame is worth a packet: nobody wants to read in bursts.
    stream.set_nodelay(true)?;
    Ok((stream, slot))
}

fn went_away(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    // macOS says the last two when an option is set on a socket that is gone.
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
    /// How long a client may take no byte.
    patience: Duration,
    soft: CancellationToken,
}

impl Service {
    /// Serves one connection until either side has had enough. What this future holds is held for every open stream.
    async fn serve(self: Arc<Self>, mut socket: TcpStream, slot: OwnedSemaphorePermit) {
        let mut unread = Vec::new();
        loop {
            // Boxed, so that an open stream holds no room for HTTP.
            let spoken = Box::pin(self.speak_http(socket, unread)).await;
            let Some((connection, takeover, reusable)) = spoken else { break };
            let Some(afterlife) = takeover.take() else { break };
            let (given_back, ending) = afterlife(connection).await;
            socket = given_back;
            match ending {
                Ending::Answered(more) if reusable => unread = more,
                Ending::Answered(_) | Ending::Said => break Box::pin(closing::linger(socket)).await,
                Ending::CutOff => break closing::cut(&socket),
                Ending::Left => break,
            }
        }
        drop(slot);
    }

    /// Speaks HTTP until the connection is closed, or until an answer takes it along: then also whether another request may
    /// follow.
    async fn speak_http(&self, socket: TcpStream, unread: Vec<u8>) -> Option<(Connection, Takeover, bool)> {
        let patience = self.patience;
        let surface = Surface::new(self.router.clone());
        let stream = Patient::new(socket, unread, patience);
        let behind = stream.behind();
        let mut http = self.protocol.serve_connection(TokioIo::new(stream), surface.clone());
        let mut draining = pin!(self.soft.cancelled());
        let mut told = false;
        let next = poll_fn(|cx| {
            if !told && draining.as_mut().poll(cx).is_ready() {
                told = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            match http.poll_without_shutdown(cx) {
                Poll::Ready(ended) => Poll::Ready(Err(ended)),
                // An earlier answer on this connection has to be out first.
                Poll::Pending if behind.load(Ordering::Relaxed) => Poll::Pending,
                Poll::Pending => surface.leaving().map_or(Poll::Pending, |leaving| Poll::Ready(Ok(leaving))),
            }
        })
        .await;
        let parts = http.into_parts();
        let (socket, rest) = parts.io.into_inner().into_inner();
        match next {
            Ok(Leaving { takeover, head, framing, reusable }) => {
                let unread = [&parts.read_buf, &*rest].concat();
                Some((Connection { socket, unread, head, framing, patience }, takeover, reusable))
            }
            Err(ended) => {
                closing::close(socket, ended, &parts.read_buf).await;
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
