//! How a connection ends, which is half of what it says.
//!
//! An answer that was given must arrive: closing with unread bytes resets the connection, which on many systems takes
//! the answer away from the client. A stream that was cut must not look like one that ended.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long to go on reading from a client that was answered before it had sent everything.
const LINGER: Duration = Duration::from_secs(5);

/// A client that sends nothing for this long has nothing under way any more.
const QUIET: Duration = Duration::from_millis(250);

/// hyper answers a head that is wrong, but closes without a word on one that does not come.
const HEAD_TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Closes a connection on which HTTP has `ended`, with `unparsed` left over.
pub(super) async fn close(mut stream: TcpStream, ended: hyper::Result<()>, unparsed: &[u8]) {
    match ended {
        Ok(()) => linger(stream).await,
        // Without a byte it is an idle connection, and closing it says enough.
        Err(error) if error.is_timeout() && !unparsed.is_empty() => {
            if stream.write_all(HEAD_TOO_SLOW).await.is_ok() {
                linger(stream).await;
            }
        }
        // hyper has answered it, with a status alone.
        Err(error) if error.is_parse() => linger(stream).await,
        // The client left, or takes no bytes.
        Err(error) => tracing::debug!(%error, "a connection broke off"),
    }
}

/// Closes a connection whose stream was cut off. Without its final chunk no client takes it for an end; a reset says the
/// same to proxies that speak HTTP/1.0, where an end has no other sign than the closing.
pub(super) fn cut(stream: &TcpStream) {
    // It fails for a connection that is gone, which says as much.
    let _ = stream.set_zero_linger();
}

/// Says that all is said, and reads on for as long as the client goes on sending, within reason.
pub(super) async fn linger(mut stream: TcpStream) {
    let rest = async {
        let mut void = [0; 4096];
        let mut sending = stream.shutdown().await.is_ok();
        while sending {
            sending = matches!(timeout(QUIET, stream.read(&mut void)).await, Ok(Ok(1..)));
        }
    };
    // A client that never stops has had its chance.
    let _ = timeout(LINGER, rest).await;
}
