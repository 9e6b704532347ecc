//! The front ends as one connection sees them, with a door out of HTTP.

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

use crate::{
    headers::lists,
    takeover::{Framing, Takeover},
};

/// Answers what is asked on one connection.
#[derive(Clone)]
pub(super) struct Surface {
    router: Router,
    leaving: Arc<Mutex<Option<Leaving>>>,
}

/// An answer that takes the connection along.
pub(super) struct Leaving {
    pub(super) takeover: Takeover,
    pub(super) head: Vec<u8>,
    pub(super) framing: Framing,
    /// Whether another request may follow on this connection.
    pub(super) reusable: bool,
}

impl Surface {
    pub(super) fn new(router: Router) -> Self {
        Self { router, leaving: Arc::default() }
    }

    /// What waits at the door.
    pub(super) fn leaving(&self) -> Option<Leaving> {
        // Nothing panics while holding the lock.
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Service<Request<Incoming>> for Surface {
    type Response = Response<Body>;
    type Error = Infallible;
    /// Boxed, because hyper gives the socket back only from a service whose future may be moved.
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let asked = Asked::by(&request);
        let answer = self.router.clone().oneshot(request.map(Body::new));
        let leaving = Arc::clone(&self.leaving);
        async move {
            let mut response = answer.await?;
            let takeover = response.extensions_mut().remove::<Takeover>();
            let Some(takeover) = takeover.filter(|_| asked.wants_body) else { return Ok(response) };
            let leaves = asked.leave(takeover, &response.into_parts().0);
            *leaving.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaves);
            // HTTP ends here, without another word.
            pending().await
        }
        .boxed()
    }
}

/// What of a request matters for how its answer travels.
struct Asked {
    version: Version,
    wants_body: bool,
    reusable: bool,
}

impl Asked {
    fn by(request: &Request<Incoming>) -> Self {
        let (method, version) = (request.method(), request.version());
        // What is left of a body that nobody reads would be taken for the next request. Those of a POST are read.
        let read = request.body().is_end_stream() || *method == Method::POST;
        let reusable = version >= Version::HTTP_11 && read && !lists(request.headers(), &CONNECTION, "close");
        Self { version, wants_body: *method != Method::HEAD, reusable }
    }

    /// Writes the head.
    fn leave(self, takeover: Takeover, parts: &response::Parts) -> Leaving {
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
        Leaving { takeover, head, framing, reusable }
    }
}
