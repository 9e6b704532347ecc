//! Limits on what one client may use: bytes of a body, time to send it, and open streams.
//!
//! The server limits connections: their head, their idle time, and their number.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::{sync::Semaphore, time::timeout};

use super::problem::Problem;
use crate::{config::Config, stream::permit::StreamPermit};

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

    /// A permit, or an error at once: a client that would have to wait should ask another replica.
    pub(crate) fn open_stream(&self) -> Result<StreamPermit, Problem> {
        let permit =
            Arc::clone(&self.streams).try_acquire_owned().map_err(|_| Problem::too_many_streams())?;
        Ok(StreamPermit::new(permit))
    }

    /// The whole body, if it is small enough and comes soon enough.
    pub(crate) async fn read(&self, body: Body) -> Result<Bytes, Problem> {
        let too_large = || Problem::too_large(self.max_body);
        if body.size_hint().lower() > self.max_body as u64 {
            return Err(too_large());
        }
        match timeout(self.body_timeout, Limited::new(body, self.max_body).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Problem::broken_body()),
            Err(_) => Err(Problem::too_slow()),
        }
    }
}
