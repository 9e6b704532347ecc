//! Models behind an OpenAI-compatible service: vLLM, llama.cpp, Ollama, a hosted API.
//!
//! A request is one streamed chat completion over HTTP/1.1, on a connection that is kept for the next one. Until the first
//! byte of the answer it is tried again where that can help, at another replica where there is one; after it, a failure
//! ends the attempt, and the worker decides. While every replica is busy or cannot be reached, requests learn at once how long
//! to wait, and only one at a time is sent to see whether a replica is back (`endpoints`). Dropping the answer closes its connection, which is how a service learns
//! that it can stop.
//!
//! # Going on with an answer that was cut
//!
//! Only where the configuration says that the service takes it ([`ContinuationMode`]), by giving it the text so far as the
//! beginning of its own answer; a model is never talked into going on by a prompt of ours. What that cannot carry starts
//! over: reasoning, tool calls, and a text of nothing but white space. The continuation is another sample
//! ([`Continuation::Resampled`]). Since the service counts from there,
//!
//! - the text so far is part of its input: `input_tokens` and `output_tokens` have the right sum, and only what it said
//!   itself is output;
//! - `max_tokens` limits what it says itself: how many tokens the text so far was made of is not known here.
//!
//! A service that tells no usage is counted with zero tokens.
//!
//! # What is not here
//!
//! Checking a request before it is accepted (only the service knows its limits), tools of the caller, several answers to one
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

/// How often an upstream that has not begun is vouched for: its own time-out ends that, not the worker's.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// A model behind an OpenAI-compatible service. Cheap to share: one set of connections.
#[derive(Clone, Debug)]
pub struct Upstream {
    caller: Arc<UpstreamClient>,
}

impl Upstream {
    /// A model at this service. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`InvalidConfig`] for what can never work; the message says what to change.
    pub fn new(config: Config) -> Result<Self, InvalidConfig> {
        Ok(Self { caller: Arc::new(UpstreamClient::new(config)?) })
    }
}

#[async_trait]
impl Model for Upstream {
    fn continuation(&self, so_far: &Prefix) -> Continuation {
        match self.caller.config.continuation {
            ContinuationMode::Unsupported => Continuation::Unsupported,
            // Chat templates differ on a blank message, and nobody misses one.
            _ if so_far.beyond_text || so_far.text.trim().is_empty() => Continuation::Unsupported,
            ContinuationMode::AssistantPrefill | ContinuationMode::ContinueFinalMessage => {
                Continuation::Resampled
            }
        }
    }

    /// Asks when the stream is first polled. While the service has not begun, the stream says [`Output::Working`].
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
                // Never prefix_trimmer two samples: the text is not ours to ignore.
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

/// Where an answer is.
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
