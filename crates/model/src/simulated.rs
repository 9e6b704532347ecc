//! A model without dependencies: its text follows from the prompt, the id and its options.
//!
//! By default it returns `{prompt}: This is a simulated LLM stream. Channel ID: {id}`, one word every 250 ms. It is for
//! trying Tokenwire without a model, and for tests that must know the text: it continues any prefix with the exact text of
//! an uninterrupted run ([`Continuation::Exact`]), and it can fail on demand.
//!
//! For load tests its deltas can carry the time at which they were made ([`Config::stamped`]). Then no two runs are equal.

mod text;

use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use tokenwire_core::{
    FinishReason, GenerateRequest, GenerationId, Model, Usage,
    model::{Continuation, ModelError, Output, OutputStream},
    token_log::Prefix,
};
use tokio::time::{Instant, sleep_until};

use text::{Stamps, Text};

/// How the simulated model behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The time between two words. Words keep to a schedule: a late word does not delay the next, unless it is late by more
    /// than this. Zero: as fast as it is read. Default: 250 ms.
    pub delay: Duration,
    /// The time before the first word, like that of a model that reads a long prompt. Default: none.
    pub first_delay: Duration,
    /// Answer with this many words of filler text instead of the prompt's echo. The filler depends on the prompt.
    pub words: Option<usize>,
    /// For load tests: each word begins with the time at which it was made, in microseconds since the Unix epoch (16
    /// digits), and generations that begin together are out of step. Default: false.
    pub stamped: bool,
    /// Fails on purpose.
    pub fault: Option<Fault>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(250),
            first_delay: Duration::ZERO,
            words: None,
            stamped: false,
            fault: None,
        }
    }
}

/// A failure right before the word at this position of the complete answer (from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error, in every attempt that gets there.
    Error {
        /// How many words come before it.
        after: usize,
    },
    /// No further output.
    Silence {
        /// How many words come before it.
        after: usize,
    },
}

/// The simulated model.
#[derive(Clone, Debug, Default)]
pub struct Simulated {
    config: Config,
}

impl Simulated {
    /// A model with these settings.
    pub fn new(config: Config) -> Self {
        Self { config }
    }
}

#[async_trait]
impl Model for Simulated {
    fn continuation(&self, _so_far: &Prefix) -> Continuation {
        // The words would be the same, but not their times.
        if self.config.stamped { Continuation::Resampled } else { Continuation::Exact }
    }

    async fn check(&self, request: &GenerateRequest) -> Result<(), ModelError> {
        request.text_alone()
    }

    async fn generate(
        &self,
        id: GenerationId,
        request: &GenerateRequest,
        so_far: &Prefix,
    ) -> Result<OutputStream, ModelError> {
        request.text_alone()?;
        let prompt = request.conversation.prompt();
        let stamps = if self.config.stamped { Stamps::Yes } else { Stamps::No };
        let mut text = match self.config.words {
            None => Text::echo(prompt, id),
            Some(words) => Text::filler(prompt, words),
        }
        .stamped(stamps);
        // Only another text can fail to start with what was committed. Never join the two.
        if !text.skip(&so_far.text) {
            let message = "the simulated model was restarted with other options; ask again".into();
            return Err(ModelError::Rejected { message });
        }
        let input_tokens = prompt.split_whitespace().count() as u64;
        let answer = SimulatedAnswer {
            text,
            input_tokens,
            state: State::Beginning,
            due: Instant::now(),
            phase: if self.config.stamped { phase(id, self.config.delay) } else { Duration::ZERO },
            config: self.config.clone(),
        };
        Ok(stream::unfold(Box::new(answer), SimulatedAnswer::next).boxed())
    }
}

/// The extra length of the first pause of this generation: a part of a pause, depending on the id.
fn phase(id: GenerationId, delay: Duration) -> Duration {
    let [.., high, low] = *id.as_bytes();
    delay * u32::from(u16::from_be_bytes([high, low])) / (u32::from(u16::MAX) + 1)
}

/// A running answer.
struct SimulatedAnswer {
    config: Config,
    text: Text,
    input_tokens: u64,
    state: State,
    /// When the last word was due. At first, when the first delay began.
    due: Instant,
    /// The extra length of the first pause.
    phase: Duration,
}

enum State {
    Beginning,
    Speaking,
    Over,
}

impl SimulatedAnswer {
    async fn next(mut self: Box<Self>) -> Option<(Result<Output, ModelError>, Box<Self>)> {
        let delay = match self.state {
            State::Beginning => self.config.first_delay,
            State::Speaking => self.config.delay,
            State::Over => return None,
        };
        match self.config.fault {
            Some(Fault::Error { after }) if self.text.spoken() >= after => {
                self.state = State::Over;
                let cause = format!("it was told to fail after {after} words");
                return Some((Err(ModelError::Unavailable(cause.into())), self));
            }
            Some(Fault::Silence { after }) if self.text.spoken() >= after => {
                return std::future::pending().await;
            }
            _ => {}
        }
        if self.text.is_over() {
            self.state = State::Over;
            let usage = Usage { input_tokens: self.input_tokens, output_tokens: self.text.spoken() as u64 };
            return Some((Ok(Output::Finished { reason: FinishReason::Stop, usage }), self));
        }
        if delay.is_zero() {
            // Without a delay this stream is always ready: let other tasks run.
            tokio::task::coop::consume_budget().await;
        } else {
            self.schedule(delay);
            sleep_until(self.due).await;
        }
        self.state = State::Speaking;
        let text = self.text.next()?;
        Some((Ok(Output::Text { text, tokens: Vec::new() }), self))
    }

    /// When the next word is due: `delay` after the last one was.
    fn schedule(&mut self, delay: Duration) {
        if let State::Speaking = self.state {
            self.due += std::mem::take(&mut self.phase);
        }
        self.due += delay;
        let now = Instant::now();
        // It was not polled. Words do not catch up in a burst.
        if self.due + delay < now {
            self.due = now;
        }
    }
}
