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
//! A connection that ceases to speak HTTP, for a WebSocket, keeps its task and its slot, and what is said here holds for it.
//!
//! TLS is a proxy's.

mod closing;
mod patient;
mod surface;

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
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
use self::surface::Surface;
use crate::{config::Config, routes::router};

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
    let protocol = protocol(&config);
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
                let stream = Patient::new(stream, config.write_timeout);
                connections.spawn(connection(&protocol, stream, router.clone(), soft.clone(), slot));
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

/// Speaks HTTP on one connection until either side has had enough. What this future holds is held for every open stream.
fn connection(
    protocol: &http1::Builder,
    stream: Patient,
    router: Router,
    soft: CancellationToken,
    slot: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + use<> {
    let mut http = protocol.serve_connection(TokioIo::new(stream), Surface::new(router));
    async move {
        let mut draining = pin!(soft.cancelled());
        let mut told = false;
        let ended = poll_fn(|cx| {
            if !told && draining.as_mut().poll(cx).is_ready() {
                told = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            http.poll_without_shutdown(cx)
        })
        .await;
        // Boxed, so that an open stream does not hold room for what comes after it.
        Box::pin(after_http(http.into_parts(), ended)).await;
        drop(slot);
    }
}

/// What a connection does once HTTP has `ended` on it: it closes, or speaks something else first.
async fn after_http(parts: http1::Parts<TokioIo<Patient>, Surface>, ended: hyper::Result<()>) {
    let stream = parts.io.into_inner();
    let afterlife = if ended.is_ok() { parts.service.agreed() } else { None };
    match afterlife {
        Some(afterlife) => {
            let (stream, ending) = afterlife(stream, parts.read_buf.into()).await;
            closing::close_socket(stream, ending).await;
        }
        None => closing::close(stream.into_inner(), ended, &parts.read_buf).await,
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task panicked");
    }
}
