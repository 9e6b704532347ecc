//! What one client may take from the others: bytes, time, and open streams.
//!
//! The limits of a connection as such (its head, its idle time, how many there are) are the server's.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{config::Config, error::Error, metrics};

/// The right to hold one stream open. Given back when dropped.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    _permit: OwnedSemaphorePermit,
    _counted: metrics::OpenStream,
}

#[derive(Clone, Debug)]
pub(crate) struct Limits {
    streams: Arc<Semaphore>,
    max_body: usize,
    body_timeout: Duration,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        let streams = config.max_streams.min(Semaphore::MAX_PERMITS);
        Self {
            streams: Arc::new(Semaphore::new(streams)),
            max_body: config.max_body,
            body_timeout: config.body_timeout,
        }
    }

    /// A permit, now or not at all: a client that waits in line for a stream would rather ask another replica.
    pub(crate) fn open_stream(&self) -> Result<StreamPermit, Error> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| Error::TooManyStreams)?;
        Ok(StreamPermit { _permit: permit, _counted: metrics::OpenStream::begin() })
    }

    /// The whole body, if it is small enough and comes soon enough.
    pub(crate) async fn read(&self, body: Body) -> Result<Bytes, Error> {
        let too_large = Error::TooLarge { limit: self.max_body };
        if body.size_hint().lower() > self.max_body as u64 {
            return Err(too_large);
        }
        match timeout(self.body_timeout, Limited::new(body, self.max_body).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large),
            Ok(Err(_)) => Err(Error::BrokenBody),
            Err(_) => Err(Error::TooSlow),
        }
    }
}
