//! What an operator can say about the HTTP side.

use std::time::Duration;

use axum::http::HeaderValue;
use tokenwire_core::token_log::OnDisconnect;

/// How long a generation waits for a reader to come back, unless an operator says otherwise.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// The settings of the HTTP side. Each default is fit for use.
#[derive(Clone, Debug)]
pub struct Config {
    /// A comment goes to a reader after this much silence, so that proxies keep the connection and dead ones are noticed.
    /// Below the 60 s after which common proxies give up. Default 10 s.
    pub heartbeat: Duration,
    /// How long readers wait before they reconnect (`retry:`). Default 1 s.
    pub reconnect_after: Duration,
    /// How many streams may be open at once; one more is refused with 503. Default 20,000: at some KiB each, what a small
    /// machine carries beside its work.
    pub max_streams: usize,
    /// How many connections may be open at once; more wait in the listener's backlog. Above [`Self::max_streams`], so that
    /// a full server still answers about its health. Default 22,000.
    pub max_connections: usize,
    /// The largest request body, in bytes; a larger one is refused with 413. Default 1 MiB.
    pub max_body: usize,
    /// The largest request head, in bytes; a larger one is refused with 431. At least 8 KiB. Default 16 KiB.
    pub max_head: usize,
    /// How long a request head may take to arrive (408), which is also how long an idle connection is kept. Default 10 s.
    pub head_timeout: Duration,
    /// How long a request body may take to arrive (408). Default 20 s.
    pub body_timeout: Duration,
    /// How long a client may take no byte of what is sent to it before its connection is dropped. A reader that stopped
    /// reading looks alive to everything else. Default 60 s.
    pub write_timeout: Duration,
    /// How long a WebSocket may be open. Once this is over it is closed between two responses. Default 1 hour.
    pub socket_lifetime: Duration,
    /// What happens to a generation of `/ask` without readers. Default: cancelled after 30 s, which is enough to reload the
    /// page.
    pub on_disconnect: OnDisconnect,
    /// Which web pages of other origins may use this server. Default: none.
    pub cors: Cors,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(10),
            reconnect_after: Duration::from_secs(1),
            max_streams: 20_000,
            max_connections: 22_000,
            max_body: 1024 * 1024,
            max_head: 16 * 1024,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            write_timeout: Duration::from_secs(60),
            socket_lifetime: Duration::from_secs(60 * 60),
            on_disconnect: OnDisconnect::CancelAfter(GRACE),
            cors: Cors::Off,
        }
    }
}

/// Which web pages of other origins may use this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Pages of any origin. For a server that only its own machine can reach, or that is meant for everybody.
    Any,
    /// Pages of these origins, such as `https://example.org`.
    Origins(Vec<HeaderValue>),
    /// None: only the server's own page.
    Off,
}
