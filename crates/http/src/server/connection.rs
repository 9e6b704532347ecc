//! The router as the service of one connection, which also hands over responses that leave hyper.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use axum::{Router, body::Body};
use futures::{FutureExt, future::BoxFuture};
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::{Body as _, Incoming},
    header::CONNECTION,
    http::response,
    service::Service,
};
use tokenwire_core::{Clock, SystemClock};
use tower::ServiceExt;

use crate::stream::{
    headers::lists,
    upgrade::{Framing, Upgrade},
};

/// Answers the requests of one connection.
#[derive(Clone)]
pub(super) struct ConnectionService {
    router: Router,
    pending: Arc<Mutex<Option<PendingUpgrade>>>,
}

/// A response that takes the connection out of hyper.
pub(super) struct PendingUpgrade {
    pub(super) upgrade: Upgrade,
    pub(super) head: Vec<u8>,
    pub(super) framing: Framing,
    /// Whether another request may follow on this connection.
    pub(super) reusable: bool,
}

impl ConnectionService {
    pub(super) fn new(router: Router) -> Self {
        Self { router, pending: Arc::default() }
    }

    /// The upgrade that the last request asked for, once.
    pub(super) fn pending(&self) -> Option<PendingUpgrade> {
        // Nothing panics while holding the lock.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Service<Request<Incoming>> for ConnectionService {
    type Response = Response<Body>;
    type Error = Infallible;
    /// Boxed, because hyper gives the socket back only from a service whose future may be moved.
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let asked = RequestFraming::of(&request);
        let answer = self.router.clone().oneshot(request.map(Body::new));
        let pending_upgrade = Arc::clone(&self.pending);
        async move {
            let mut response = answer.await?;
            let upgrade = response.extensions_mut().remove::<Upgrade>();
            let Some(upgrade) = upgrade.filter(|_| asked.wants_body) else { return Ok(response) };
            let upgrade = asked.upgrade(upgrade, &response.into_parts().0);
            *pending_upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
            // hyper must not write a response: the server takes the connection back from it now.
            pending().await
        }
        .boxed()
    }
}

/// What of a request decides how its response is framed.
struct RequestFraming {
    version: Version,
    wants_body: bool,
    reusable: bool,
}

impl RequestFraming {
    fn of(request: &Request<Incoming>) -> Self {
        let (method, version) = (request.method(), request.version());
        // The rest of a body that is not read would be taken for the next request. Handlers of POST read it.
        let read = request.body().is_end_stream() || *method == Method::POST;
        let reusable = version >= Version::HTTP_11 && read && !lists(request.headers(), &CONNECTION, "close");
        Self { version, wants_body: *method != Method::HEAD, reusable }
    }

    /// Writes the head of the response.
    fn upgrade(self, upgrade: Upgrade, parts: &response::Parts) -> PendingUpgrade {
        let Self { version, reusable, .. } = self;
        let framing = if version >= Version::HTTP_11 { Framing::Chunked } else { Framing::UntilClosed };
        let mut head = format!("{version:?} {}\r\n", parts.status).into_bytes();
        let mut field = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                head.extend_from_slice(part);
            }
        };
        for (name, value) in &parts.headers {
            field(name.as_str(), value.as_bytes());
        }
        if parts.status != StatusCode::SWITCHING_PROTOCOLS {
            if framing == Framing::Chunked {
                field("transfer-encoding", b"chunked");
            }
            if !reusable {
                field("connection", b"close");
            }
        }
        let now = UNIX_EPOCH + Duration::from_millis(SystemClock.now().as_millis());
        field("date", httpdate::fmt_http_date(now).as_bytes());
        head.extend_from_slice(b"\r\n");
        PendingUpgrade { upgrade, head, framing, reusable }
    }
}
