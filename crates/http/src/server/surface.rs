//! The front ends as one connection sees them.

use std::{convert::Infallible, pin::Pin, sync::OnceLock};

use axum::{Router, body::Body, response::Response};
use hyper::{Request, body::Incoming, header::UPGRADE, service::Service};
use tower::{ServiceExt, util::Oneshot};

use crate::websocket::{Afterlife, Switch};

/// Answers what is asked on one connection.
#[derive(Debug)]
pub(super) struct Surface {
    router: Router,
    /// Made for connections that ask for another protocol. hyper's own way would be a task that waits for the socket, which
    /// nobody keeps track of.
    switch: OnceLock<Switch>,
}

impl Surface {
    pub(super) fn new(router: Router) -> Self {
        Self { router, switch: OnceLock::new() }
    }

    /// What the connection does now that HTTP has ended on it.
    pub(super) fn agreed(&self) -> Option<Afterlife> {
        self.switch.get()?.agreed()
    }
}

impl Service<Request<Incoming>> for Surface {
    type Response = Response;
    type Error = Infallible;
    /// Boxed, because hyper gives the socket back only from a service whose future may be moved.
    type Future = Pin<Box<Oneshot<Router, Request<Body>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        if request.headers().contains_key(UPGRADE) {
            let switch = self.switch.get_or_init(Switch::default).clone();
            request.extensions_mut().insert(switch);
        }
        Box::pin(self.router.clone().oneshot(request))
    }
}
