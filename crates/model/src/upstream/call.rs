//! From a request to the first byte of its answer.
//!
//! This is where a request is tried again, here or at another replica: nothing was said yet, so nothing can be said twice.
//! After the first byte a failure is the worker's, which knows what was committed.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect,
};
use tokenwire_core::{BoxError, Clock, SystemClock};
use tokio::time::{sleep, timeout};

use super::{
    Config,
    config::InvalidConfig,
    endpoints::{Endpoints, Hold},
    errors::Fault,
    metrics::Asked,
    retry::{Pace, retry_after},
    wire::Refusal,
};

/// The longest that a request waits here to be tried again. For longer, its job goes back to the queue and frees its slot.
const MOST_PATIENCE: Duration = Duration::from_secs(10);

/// How long connections are kept for the next request: less than the 5 s after which uvicorn (vLLM) closes them, so that no
/// request meets one that is just being closed. (One may still: llama.cpp closes after each streamed answer.)
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// The most of an error's body that is read, and for how long.
const MAX_ERROR_BYTES: usize = 64 * 1024;
const ERROR_PATIENCE: Duration = Duration::from_secs(5);

/// The body of an answer.
pub(super) type Body = BoxStream<'static, Result<Bytes, BoxError>>;

/// Asks an upstream.
#[derive(Debug)]
pub(super) struct Caller {
    client: Client,
    endpoints: Endpoints,
    headers: HeaderMap,
    pub(super) config: Config,
}

/// An answer that has begun: its first byte is in `body`.
pub(super) struct Opened {
    pub(super) hold: Hold,
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

impl Caller {
    pub(super) fn new(config: Config) -> Result<Self, InvalidConfig> {
        config.check()?;
        let mut client = Client::builder()
            .user_agent(concat!("tokenwire/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(KEEP_ALIVE)
            .tcp_nodelay(true)
            // A redirect would turn our POST into a GET, or send prompts and key to somebody else.
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
        Ok(Self { client, endpoints, headers, config })
    }

    /// Asks until there is the first byte of an answer, or no point in asking again.
    pub(super) async fn open(&self, request: Bytes, asked: &Asked) -> Result<Opened, Fault> {
        let mut pace = Pace::default();
        let mut tries = 0;
        let mut hung_up = false;
        loop {
            let Some(hold) = self.endpoints.choose() else {
                return Err(Fault::broken("there is no upstream"));
            };
            let fault = match self.ask(&hold, request.clone()).await {
                Ok(body) => {
                    hold.answered();
                    return Ok(Opened { hold, body });
                }
                Err(fault) => fault,
            };
            if matches!(fault, Fault::HungUp { .. }) && !std::mem::replace(&mut hung_up, true) {
                // A connection that was kept, most likely, and that it was about to close. That is no try.
                tracing::debug!(upstream = hold.endpoint.name, %fault, "asking again on a new connection");
                continue;
            }
            tries += 1;
            if fault.is_about_the_upstream() {
                hold.failed(fault.retry_after());
            } else {
                hold.answered();
            }
            let upstream = &hold.endpoint.name;
            // Another replica is asked at once, whatever this one says about itself.
            let wait = if self.endpoints.any_well() {
                Duration::ZERO
            } else {
                pace.advance().max(fault.retry_after().unwrap_or_default())
            };
            if !fault.is_passing() || tries > self.config.retries || wait > MOST_PATIENCE {
                match &fault {
                    Fault::Refused { .. } => {
                        tracing::error!(upstream, %fault, "an upstream does not serve us");
                    }
                    Fault::Rejected { .. } => {
                        tracing::info!(upstream, %fault, "an upstream rejected a request");
                    }
                    // The worker says so, and what it does about it.
                    Fault::Busy { .. } | Fault::Broken { .. } | Fault::HungUp { .. } | Fault::Odd { .. } => {}
                }
                return Err(fault.after(tries));
            }
            tracing::warn!(upstream, %fault, tries, ?wait, "an upstream gave no answer; asking again");
            asked.again();
            drop(hold);
            sleep(wait).await;
        }
    }

    /// Asks once.
    async fn ask(&self, hold: &Hold, request: Bytes) -> Result<Body, Fault> {
        let patience = self.config.first_byte_timeout;
        let first_byte = async {
            let sent = self
                .client
                .post(hold.endpoint.url.clone())
                .headers(self.headers.clone())
                .body(request)
                .send();
            let response = sent.await.map_err(unanswered)?;
            let mut body = self.answer(response).await?;
            while let Some(bytes) = body.next().await {
                let bytes = bytes.map_err(Fault::broken)?;
                if !bytes.is_empty() {
                    return Ok(futures::stream::once(async { Ok(bytes) }).chain(body).boxed());
                }
            }
            Err(Fault::broken("the upstream ended the answer before its first byte"))
        };
        let late = |_| Fault::broken(format!("there was no byte of an answer within {patience:?}"));
        timeout(patience, first_byte).await.map_err(late)?
    }

    /// The body of a response, if it is an answer.
    async fn answer(&self, response: Response) -> Result<Body, Fault> {
        let status = response.status();
        let wait = retry_after(response.headers(), SystemClock.now());
        let content_type =
            response.headers().get(CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase());
        let body = response.bytes_stream().map_err(|error| error.without_url().into()).boxed();
        // Some services leave the type out.
        let is_stream = content_type.as_ref().is_none_or(|value| value.starts_with(b"text/event-stream"));
        if status == StatusCode::OK && is_stream {
            return Ok(body);
        }
        let said = read_error(body).await;
        let complaint = Refusal::read(&said);
        let key = self.config.key.as_ref();
        if status != StatusCode::OK {
            return Err(Fault::of(status, complaint.as_ref(), wait, key));
        }
        // Some services put their errors into a success.
        let status = complaint.as_ref().and_then(|complaint| StatusCode::from_u16(complaint.status()?).ok());
        match status.filter(|status| status.as_u16() >= 400) {
            Some(status) => Err(Fault::of(status, complaint.as_ref(), wait, key)),
            None => Err(Fault::Odd { cause: "the upstream did not answer with an event stream".into() }),
        }
    }
}

impl Fault {
    /// The same, after so many tries.
    fn after(self, tries: u32) -> Self {
        match self {
            Self::Broken { cause, retry_after } if tries > 1 => {
                Self::Broken { cause: NoAnswer { tries, last: cause }.into(), retry_after }
            }
            Self::HungUp { cause } if tries > 1 => Self::broken(NoAnswer { tries, last: cause }),
            other => other,
        }
    }
}

/// Why there was no response. Its address is for logs alone.
fn unanswered(error: reqwest::Error) -> Fault {
    let hung_up = !(error.is_connect() || error.is_timeout() || error.is_builder());
    let cause = error.without_url();
    if hung_up { Fault::HungUp { cause: cause.into() } } else { Fault::broken(cause) }
}

/// What an error says, as far as it can be had.
async fn read_error(mut body: Body) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = timeout(ERROR_PATIENCE, async {
        while let Some(Ok(bytes)) = body.next().await
            && said.len() + bytes.len() <= MAX_ERROR_BYTES
        {
            said.extend_from_slice(&bytes);
        }
    })
    .await;
    said
}
