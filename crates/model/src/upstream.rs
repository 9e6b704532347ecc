//! Models behind an OpenAI-compatible service: vLLM, llama.cpp, Ollama, a hosted API.
//!
//! A request is one streamed chat completion over HTTP/1.1, on a connection that is kept for the next one. Until the first
//! byte of the response it is retried where that can help, at another replica if there is one. After it, a failure ends the
//! attempt, and the worker decides. While every replica is busy or unreachable, requests get the time to wait at once, and
//! one request at a time tests a replica (`endpoints`). Dropping the response closes its connection, which tells the
//! service to stop.
//!
//! # Continuing an interrupted answer
//!
//! Only if the configuration says that the service supports it ([`ContinuationMode`]): the service gets the text so far as
//! the beginning of its own answer. No prompt asks a model to continue. Reasoning, tool calls and text that is only white
//! space cannot be continued, so such answers start over. The continuation is newly sampled ([`Continuation::Resampled`]).
//! The service counts only its own part:
//!
//! - The text so far is part of its input. The sum of `input_tokens` and `output_tokens` is right.
//! - `max_tokens` limits only the continuation: the number of tokens of the text so far is not known here.
//!
//! A service that reports no usage is counted with zero tokens.
//!
//! # Not here
//!
//! Checking a request before it is accepted (only the service knows its limits), running tools, several answers to one
//! request, and any knowledge of a particular service beyond [`ContinuationMode`].

mod answer;
mod call;
mod config;
mod endpoints;
mod errors;
mod prefix_trimmer;
mod reading;
mod retry;
mod wire;

pub mod metrics;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use tokenwire_core::{
    GenerateRequest, GenerationId, Model,
    model::{Continuation, ModelError, Output, OutputStream},
    token_log::Prefix,
};
use tokio::time::sleep;

pub use config::{Config, ContinuationMode, InvalidConfig, InvalidKey, Key, Price};

use call::UpstreamClient;
use errors::UpstreamError;
use metrics::Asked;
use prefix_trimmer::PrefixTrimmer;
use reading::{AnswerReader, AnswerStream};
use wire::Request;

/// How often an upstream that has not started to respond counts as alive: its own time-out ends the wait, not the worker's.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// A model behind an OpenAI-compatible service. Cheap to share: clones use the same connections.
#[derive(Clone, Debug)]
pub struct Upstream {
    caller: Arc<UpstreamClient>,
}

impl Upstream {
    /// A model at this service. No I/O.
    ///
    /// # Errors
    /// [`InvalidConfig`]; the message says what to change.
    pub fn new(config: Config) -> Result<Self, InvalidConfig> {
        Ok(Self { caller: Arc::new(UpstreamClient::new(config)?) })
    }
}

#[async_trait]
impl Model for Upstream {
    fn continuation(&self, so_far: &Prefix) -> Continuation {
        match self.caller.config.continuation {
            ContinuationMode::Unsupported => Continuation::Unsupported,
            // Chat templates differ for a blank message, and it carries nothing.
            _ if so_far.beyond_text || so_far.text.trim().is_empty() => Continuation::Unsupported,
            ContinuationMode::AssistantPrefill | ContinuationMode::ContinueFinalMessage => {
                Continuation::Resampled
            }
        }
    }

    /// Sends the request when the stream is first polled. Until the service responds, the stream yields
    /// [`Output::Working`].
    async fn generate(
        &self,
        id: GenerationId,
        request: &GenerateRequest,
        so_far: &Prefix,
    ) -> Result<OutputStream, ModelError> {
        let Config { model, continuation: mode, idle_timeout, key, price, .. } = &self.caller.config;
        let mut asking = Request::new(model, request);
        let mut prefix_trimmer = PrefixTrimmer::default();
        if !so_far.is_empty() {
            if self.continuation(so_far) == Continuation::Unsupported {
                // Never join two samples: the text must not be ignored.
                let message = "this upstream cannot go on with an answer that was cut; ask again".into();
                return Err(ModelError::Rejected { message });
            }
            asking = asking.after(&so_far.text, *mode);
            prefix_trimmer = PrefixTrimmer::after(&so_far.text, *mode);
        }
        let body = serde_json::to_vec(&asking).map_err(|error| ModelError::Unavailable(error.into()))?;
        let reader =
            AnswerReader { prefix_trimmer, idle_timeout: *idle_timeout, key: key.clone(), price: *price };
        let caller = Arc::clone(&self.caller);
        let asked = Asked::now(&request.model);
        let opening = open(caller, id, body.into(), asked, reader).boxed();
        Ok(stream::unfold(State::Opening(opening), next).boxed())
    }
}

/// The state of a response.
enum State {
    Opening(BoxFuture<'static, Result<AnswerStream, UpstreamError>>),
    AnswerStream(Box<AnswerStream>),
    Over,
}

async fn open(
    caller: Arc<UpstreamClient>,
    id: GenerationId,
    request: Bytes,
    mut asked: Asked,
    reader: AnswerReader,
) -> Result<AnswerStream, UpstreamError> {
    match caller.open(id, request, &asked).await {
        Ok(opened) => {
            asked.first_byte();
            Ok(reader.read(opened, asked))
        }
        Err(fault) => {
            asked.failed(fault.outcome());
            Err(fault)
        }
    }
}

async fn next(mut state: State) -> Option<(Result<Output, ModelError>, State)> {
    loop {
        let fault = match state {
            State::Over => return None,
            State::Opening(mut opening) => {
                tokio::select! {
                    biased;
                    opened = &mut opening => match opened {
                        Ok(reading) => {
                            state = State::AnswerStream(Box::new(reading));
                            continue;
                        }
                        Err(fault) => fault,
                    },
                    () = sleep(SIGN_OF_LIFE) => return Some((Ok(Output::Working), State::Opening(opening))),
                }
            }
            State::AnswerStream(mut reading) => match reading.next().await {
                Ok(output @ Output::Finished { .. }) => return Some((Ok(output), State::Over)),
                Ok(output) => return Some((Ok(output), State::AnswerStream(reading))),
                Err(fault) => fault,
            },
        };
        return Some((Err(fault.into()), State::Over));
    }
}
