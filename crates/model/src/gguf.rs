//! Models in this process: GGUF files, run by llama.cpp.
//!
//! Each model has one thread of its own (and llama.cpp's helpers), which owns the memory of all slots and runs up to that
//! many generations at once; the others wait in line. Everything around it is async and blocks nobody: prompts are made
//! where they are asked for, and a reader that is slow, or gone, costs no one else a step.
//!
//! **An answer that is taken over goes on with the very tokens that an undisturbed run would have given**, at any
//! temperature. It takes the same file under the same name, the same release of this program, and the same kind of
//! processor (what llama.cpp computes differs in the last bits from one to another). The number of slots and threads may
//! differ, and what else is going on does not matter. Whoever takes over sees the committed tokens come out again, one by
//! one, before it says a word, or fails. The price is time: a prefix of 500 tokens takes as long as saying 500 tokens.
//!
//! What a request can set, and what else it gets, is in [`Gguf`]. What is not here: GPUs, several sequences that share the
//! memory of a common beginning, tools, reasoning apart from the answer.
//!
//! An assertion that fails inside llama.cpp ends the process, and the jobs go to other workers. Everything else (a panic, a
//! failed step, no memory for the slots) fails the generations that run, says so, and the model is built again.

mod config;
mod engine;
mod generation;
mod llama;
mod llama_log;
mod load;
mod prompt;
mod sampler;
mod template;
mod text;
mod thread;
mod vocabulary;

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, Model,
    model::{Continuation, ModelError, OutputStream},
    token_log::Prefix,
};
use tokio::sync::mpsc;

pub use config::Config;
pub use load::LoadError;

use engine::Vocabulary as _;
use generation::{Generation, OUTPUTS, Task};
use prompt::Prompts;
use sampler::Sampler;
use text::Transcript;
use thread::Thread;

/// A model that runs in this process.
///
/// Temperature is 0.8, `top_k` 40 and `top_p` 0.95 where a request says nothing; the choices follow from its seed, or from
/// the id of the generation. An answer ends with [`tokenwire_core::FinishReason::Length`] after `max_tokens`, counted over
/// all attempts, or when the slot's context is full.
#[derive(Debug)]
pub struct Gguf {
    prompts: Arc<Prompts>,
    thread: Arc<Thread>,
}

impl Gguf {
    /// Loads a model file and starts its thread. Blocks, for a second or for many: not for async code.
    ///
    /// The thread ends once this and all streams are dropped.
    ///
    /// # Errors
    /// [`LoadError`] says what to change.
    pub fn load(config: Config) -> Result<Self, LoadError> {
        let loaded = load::load(&config)?;
        let thread = thread::Thread::start(config.path, &loaded)?;
        let prompts = Prompts::new(loaded.vocabulary, loaded.template, loaded.context);
        Ok(Self { prompts: Arc::new(prompts), thread: Arc::new(thread) })
    }

    /// How many generations wait or run now.
    pub fn busy(&self) -> usize {
        self.thread.busy()
    }

    /// The tokens of a conversation; or the refusal, if there is no room for it and an answer.
    async fn prompt(&self, conversation: &Conversation) -> Result<Vec<u32>, ModelError> {
        let (prompts, conversation) = (Arc::clone(&self.prompts), conversation.clone());
        // A long conversation takes some milliseconds.
        let made = tokio::task::spawn_blocking(move || prompts.tokens(&conversation)).await;
        let made = made.map_err(|error| ModelError::Unavailable(error.into()))?;
        made.map_err(|message| ModelError::Rejected { message })
    }
}

#[async_trait]
impl Model for Gguf {
    /// Exact when the tokens are this vocabulary's and say how the text begins. [`Generation`] checks the rest.
    fn continuation(&self, so_far: &Prefix) -> Continuation {
        let vocabulary = self.prompts.vocabulary();
        let ours = |token: u32| vocabulary.has(token) && !vocabulary.ends(token);
        if so_far.beyond_text || so_far.tokens.is_empty() || !so_far.tokens.iter().all(|token| ours(token.0))
        {
            return Continuation::Unsupported;
        }
        let bytes = so_far.tokens.iter().flat_map(|token| vocabulary.bytes(token.0)).collect();
        if so_far.text.starts_with(&text::shown(bytes)) {
            Continuation::Exact
        } else {
            Continuation::Unsupported
        }
    }

    async fn check(&self, request: &GenerateRequest) -> Result<(), ModelError> {
        request.text_alone()?;
        self.prompt(&request.conversation).await.map(drop)
    }

    async fn generate(
        &self,
        id: GenerationId,
        request: &GenerateRequest,
        so_far: &Prefix,
    ) -> Result<OutputStream, ModelError> {
        request.text_alone()?;
        let prompt = self.prompt(&request.conversation).await?;
        let sampling = &request.sampling;
        // The last token of an answer is never read: it needs no room.
        let room = self.prompts.context() + 1 - prompt.len();
        let limit =
            sampling.max_tokens.map_or(room, |most| room.min(usize::try_from(most.get()).unwrap_or(room)));
        let (sender, outputs) = mpsc::channel(OUTPUTS);
        let task = Task {
            prompt,
            limit,
            sampler: Sampler::new(sampling, id),
            transcript: Transcript::new(&sampling.stop),
            outputs: sender,
        };
        self.thread.submit(Generation::new(task, so_far))?;
        Ok(thread::OutputReceiver::new(outputs, Arc::clone(&self.thread)).boxed())
    }
}

/// A number as people read it: 9,412.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in (1..=digits.len()).rev().zip(digits.chars()) {
        grouped.push(digit);
        if place > 1 && place % 3 == 1 {
            grouped.push(',');
        }
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        let grouped = [0, 12, 999, 1_000, 9_412, 1_234_567].map(grouped);
        assert_eq!(grouped, ["0", "12", "999", "1,000", "9,412", "1,234,567"]);
    }
}
