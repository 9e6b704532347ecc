//! WebSockets: the handshake, which takes a connection out of hyper ([`super::upgrade`]).
//!
//! A browser lets every page open sockets to any server without a CORS check, so the rule for other origins is applied here.

mod socket;

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request},
    response::{IntoResponse, Response},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub(crate) use self::socket::{CloseReason, Disconnected, Incoming, Messages, Socket};
use super::{
    headers::lists,
    upgrade::{Ending, Upgrade},
};
use crate::config::{Config, Cors};

/// A request for a WebSocket.
#[derive(Debug)]
pub(crate) struct Handshake {
    accept: HeaderValue,
}

/// Why a handshake is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeError {
    /// The request is not a handshake of RFC 6455.
    NotRequested,
    /// A page of this origin may not open sockets.
    Origin,
}

impl Handshake {
    pub(crate) fn of(request: &request::Parts, config: &Config) -> Result<Self, HandshakeError> {
        let request::Parts { method, version, headers, .. } = request;
        let asked = *method == Method::GET
            && *version >= Version::HTTP_11
            && lists(headers, &header::CONNECTION, "upgrade")
            && lists(headers, &header::UPGRADE, "websocket")
            && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asked);
        let Some(key) = key else { return Err(HandshakeError::NotRequested) };
        if !origin_allowed(headers, &config.cors) {
            return Err(HandshakeError::Origin);
        }
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).expect("Base64 is plain ASCII");
        Ok(Self { accept })
    }

    /// Accepts the handshake. A message may have `max_message` bytes.
    pub(crate) fn accept<F>(
        self,
        max_message: usize,
        on_open: impl FnOnce(Socket) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = (Socket, Ending)> + Send + 'static,
    {
        let upgrade = Upgrade::new(move |connection| async move {
            match Socket::open(connection, max_message).await {
                Ok(socket) => {
                    let (socket, ending) = on_open(socket).await;
                    (socket.into_inner(), ending)
                }
                Err(stream) => (stream, Ending::Disconnected),
            }
        });
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, self.accept),
        ];
        let mut response = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
        response.extensions_mut().insert(upgrade);
        response
    }
}

/// Programs send no origin. A page may use its own server, and others where the configuration allows it. Only the host is
/// compared: behind a proxy that ends TLS the scheme is not known.
fn origin_allowed(headers: &HeaderMap, cors: &Cors) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let own =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host.as_bytes());
    let is_own = own.is_some() && own == host;
    match cors {
        Cors::Any => true,
        Cors::Origins(origins) => is_own || origins.contains(origin),
        Cors::Off => is_own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_origins_may_ask_where_the_configuration_says_so() {
        let ours = "https://a.example";
        let named = Cors::Origins(vec![HeaderValue::from_static("https://b.example:8443")]);
        for (origin, off, some, any) in [
            (None, true, true, true),
            (Some(ours), true, true, true),
            (Some("https://b.example:8443"), false, true, true),
            (Some("https://b.example"), false, false, true),
            (Some("https://a.example:1"), false, false, true),
            (Some("https://a.example.evil"), false, false, true),
            (Some("null"), false, false, true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("a.example"));
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            for (cors, expected) in [(&Cors::Off, off), (&named, some), (&Cors::Any, any)] {
                assert_eq!(origin_allowed(&headers, cors), expected, "{origin:?} {cors:?}");
            }
        }
    }
}
