//! Sends a request until the first byte of its response.
//!
//! Requests are retried here, at this or another replica: there is no output yet that could be repeated. After the first
//! byte the worker handles a failure, because it knows what was committed.
//!
//! A busy or unreachable replica is not waited for here: another one gets the request at once, and without another one the
//! request ends with the time to wait. The worker waits without a slot. Only a failure that a retry may fix is waited for
//! here, and not for long.

use std::{collections::HashSet, error::Error, sync::Mutex, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect,
};
use tokenwire_core::{BoxError, Clock, GenerationId, SystemClock};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    Config,
    config::InvalidConfig,
    endpoints::{Endpoints, InFlight},
    errors::{Taken, UpstreamError},
    metrics::Asked,
    retry::{Pace, retry_after},
    wire::Refusal,
};

/// The longest wait for a retry. For longer waits the job returns to the queue and frees its slot.
const MAX_RETRY_WAIT: Duration = Duration::from_secs(5);

/// How many generations with a lost connection are remembered. Beyond it all are forgotten, and some get one more try
/// without losing an attempt.
const MOST_SUSPECTS: usize = 1024;

/// How long idle connections are kept. Less than the 5 s after which uvicorn (vLLM) closes them, so that a request rarely
/// meets one that is closing. (llama.cpp closes after each streamed response, so one still can.)
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// How much of an error's body is read, and for how long.
const MAX_ERROR_BYTES: usize = 64 * 1024;
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of a response.
pub(super) type Body = BoxStream<'static, Result<Bytes, BoxError>>;

/// Sends requests to an upstream.
#[derive(Debug)]
pub(super) struct UpstreamClient {
    client: Client,
    endpoints: Endpoints,
    headers: HeaderMap,
    suspects: Mutex<HashSet<GenerationId>>,
    pub(super) config: Config,
}

/// A response that has begun. Its first byte is in `body`.
pub(super) struct Opened {
    pub(super) in_flight: InFlight,
    pub(super) body: Body,
}

/// Every try failed.
#[derive(Debug, thiserror::Error)]
#[error("no answer after {tries} tries")]
struct NoAnswer {
    tries: u32,
    #[source]
    last: BoxError,
}

impl UpstreamClient {
    pub(super) fn new(config: Config) -> Result<Self, InvalidConfig> {
        config.check()?;
        let mut client = Client::builder()
            .user_agent(concat!("tokenwire/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(KEEP_ALIVE)
            .tcp_nodelay(true)
            // A redirect would turn the POST into a GET, or send prompts and key to another server.
            .redirect(redirect::Policy::none());
        if config.is_local() {
            client = client.no_proxy();
        }
        let client = client.build().map_err(InvalidConfig::Client)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(key) = &config.key {
            headers.insert(AUTHORIZATION, key.bearer());
        }
        let endpoints = Endpoints::new(&config.base_urls);
        Ok(Self { client, endpoints, headers, suspects: Mutex::default(), config })
    }

    /// Sends the request until there is a first byte, or until a retry is useless.
    pub(super) async fn open(
        &self,
        id: GenerationId,
        request: Bytes,
        asked: &Asked,
    ) -> Result<Opened, UpstreamError> {
        let mut pace = Pace::default();
        let (mut tries, mut broke) = (0, 0);
        let mut hung_up = false;
        // The busy or unreachable replicas, and the last error.
        let (mut away, mut last) = (Vec::new(), None);
        loop {
            let mut in_flight = match self.endpoints.choose(asked.model(), &away) {
                Ok(in_flight) => in_flight,
                Err(wait) => {
                    return Err(match (last, wait) {
                        (Some(fault), wait) => UpstreamError::after(fault, tries)
                            .again_after(wait.map(|wait| wait.retry_after).unwrap_or_default()),
                        (None, Some(wait)) => UpstreamError::HeldBack(wait),
                        (None, None) => UpstreamError::broken("there is no upstream"),
                    });
                }
            };
            if last.is_some() {
                asked.again();
            }
            let fault = match self.ask(&in_flight, request.clone()).await {
                Ok(body) => return Ok(Opened { in_flight, body }),
                Err(fault) => fault,
            };
            if matches!(fault, UpstreamError::HungUp { .. }) && !std::mem::replace(&mut hung_up, true) {
                // Most likely a kept connection that was closing. It does not count as a try.
                tracing::debug!(upstream = in_flight.endpoint.name, %fault, "asking again on a new connection");
                continue;
            }
            tries += 1;
            let fault = fault.told_apart();
            let is_suspect =
                in_flight.was_well && last.is_none() && fault.may_be_the_requests() && self.suspect(id);
            let fault = if is_suspect { fault.blamed_on_the_request() } else { fault };
            if fault.is_about_the_upstream() {
                in_flight.failed(&fault);
            } else {
                in_flight.answered();
            }
            let upstream = &in_flight.endpoint.name;
            match fault {
                UpstreamError::Busy { .. }
                | UpstreamError::Absent { .. }
                | UpstreamError::HungUp { .. }
                | UpstreamError::HeldBack(_) => {
                    tracing::debug!(upstream, %fault, "a replica is busy or absent");
                    away.push(in_flight.index);
                    last = Some(fault);
                }
                UpstreamError::Broken { .. } => {
                    broke += 1;
                    // Another replica gets the request at once, even if this one asks for a wait.
                    let wait = if self.endpoints.any_well() {
                        Duration::ZERO
                    } else {
                        pace.advance().max(fault.retry_after().unwrap_or_default())
                    };
                    if is_suspect || broke > self.config.retries || wait > MAX_RETRY_WAIT {
                        return Err(fault.after(tries));
                    }
                    tracing::warn!(upstream, %fault, tries, ?wait, "an upstream gave no answer; asking again");
                    asked.again();
                    drop(in_flight);
                    sleep(wait).await;
                }
                // The worker logs it.
                UpstreamError::Odd { .. } => return Err(fault),
                UpstreamError::Refused { .. } => {
                    tracing::error!(upstream, %fault, "an upstream does not serve us");
                    return Err(fault);
                }
                UpstreamError::Rejected { .. } => {
                    tracing::info!(upstream, %fault, "an upstream rejected a request");
                    return Err(fault);
                }
            }
        }
    }

    /// Records that a healthy replica lost this generation's request. Returns whether that has happened before: then the
    /// request may be what kills the upstream, and its attempts must count.
    fn suspect(&self, id: GenerationId) -> bool {
        let mut suspects = self.suspects.lock().expect("nothing panics while it holds the lock");
        if suspects.len() >= MOST_SUSPECTS {
            suspects.clear();
        }
        !suspects.insert(id)
    }

    /// Sends the request once.
    async fn ask(&self, in_flight: &InFlight, request: Bytes) -> Result<Body, UpstreamError> {
        let limit = self.config.first_byte_timeout;
        let deadline = Instant::now() + limit;
        let late = |_| UpstreamError::broken(format!("there was no byte of an answer within {limit:?}"));
        let sent = self
            .client
            .post(in_flight.endpoint.url.clone())
            .headers(self.headers.clone())
            .body(request)
            .send();
        let response = timeout_at(deadline, sent).await.map_err(late)?.map_err(unanswered)?;
        // The status is known. The body of an error has its own time-out.
        let mut body = self.answer(response).await?;
        let first_byte = async {
            while let Some(bytes) = body.next().await {
                let bytes = bytes.map_err(UpstreamError::broken)?;
                if !bytes.is_empty() {
                    return Ok(futures::stream::once(async { Ok(bytes) }).chain(body).boxed());
                }
            }
            Err(UpstreamError::broken("the upstream ended the answer before its first byte"))
        };
        timeout_at(deadline, first_byte).await.map_err(late)?
    }

    /// The body of a response, if it is not an error.
    async fn answer(&self, response: Response) -> Result<Body, UpstreamError> {
        let status = response.status();
        let wait = retry_after(response.headers(), SystemClock.now());
        let content_type =
            response.headers().get(CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase());
        let body = response.bytes_stream().map_err(|error| error.without_url().into()).boxed();
        // Some services send no content type.
        let is_stream = content_type.as_ref().is_none_or(|value| value.starts_with(b"text/event-stream"));
        if status == StatusCode::OK && is_stream {
            return Ok(body);
        }
        let said = read_error(body).await;
        let error_body = Refusal::read(&said);
        let key = self.config.key.as_ref();
        if status != StatusCode::OK {
            return Err(UpstreamError::of(status, error_body.as_ref(), wait, key));
        }
        // Some services send errors with status 200.
        let status =
            error_body.as_ref().and_then(|error_body| StatusCode::from_u16(error_body.status()?).ok());
        match status.filter(|status| status.as_u16() >= 400) {
            Some(status) => Err(UpstreamError::of(status, error_body.as_ref(), wait, key)),
            None => {
                Err(UpstreamError::Odd { cause: "the upstream did not answer with an event stream".into() })
            }
        }
    }
}

impl UpstreamError {
    /// The same error, with the number of tries.
    fn after(self, tries: u32) -> Self {
        let after = |last| if tries > 1 { NoAnswer { tries, last }.into() } else { last };
        match self {
            Self::Absent { cause, retry_after, taken } => {
                Self::Absent { cause: after(cause), retry_after, taken }
            }
            Self::Broken { cause, retry_after } => Self::Broken { cause: after(cause), retry_after },
            other => other,
        }
    }

    /// The same error, after a second try: a new connection that closes without a byte means an unreachable upstream.
    fn told_apart(self) -> Self {
        match self {
            Self::HungUp { cause } => Self::Absent { cause, retry_after: None, taken: Taken::Maybe },
            other => other,
        }
    }

    /// Whether the request may have killed the upstream.
    fn may_be_the_requests(&self) -> bool {
        matches!(self, Self::Absent { taken: Taken::Maybe, .. })
    }

    /// The same error, as a failure of this request.
    fn blamed_on_the_request(self) -> Self {
        match self {
            Self::Absent { cause, retry_after, taken: _ } => Self::Broken { cause, retry_after },
            other => other,
        }
    }
}

/// Why there was no response. The address is only for logs.
fn unanswered(error: reqwest::Error) -> UpstreamError {
    let is_garbled = std::iter::successors(error.source(), |error| (*error).source())
        .filter_map(|error| error.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_parse);
    let (is_connect, is_ours) = (error.is_connect(), error.is_timeout() || error.is_builder());
    let cause = error.without_url().into();
    if is_connect {
        UpstreamError::Absent { cause, retry_after: None, taken: Taken::No }
    } else if is_garbled || is_ours {
        UpstreamError::broken(cause)
    } else {
        UpstreamError::HungUp { cause }
    }
}

/// Reads the body of an error, within the limits.
async fn read_error(mut body: Body) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = timeout(ERROR_BODY_TIMEOUT, async {
        while let Some(Ok(bytes)) = body.next().await
            && said.len() + bytes.len() <= MAX_ERROR_BYTES
        {
            said.extend_from_slice(&bytes);
        }
    })
    .await;
    said
}
