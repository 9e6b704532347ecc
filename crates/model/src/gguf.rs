//! Models in this process: GGUF files, run by llama.cpp.
//!
//! Each model has one thread (and llama.cpp's helper threads). It owns the memory of all slots and runs one generation per
//! slot; the others wait in a queue. Everything else is async: the caller tokenizes its own prompt, and a slow or disconnected
//! reader does not delay other generations.
//!
//! **An answer that is taken over continues with exactly the tokens of an undisturbed run**, at any temperature. This needs
//! the same file under the same name, the same release of this program, and the same kind of processor (results of llama.cpp
//! differ in the last bits between processors). The number of slots and threads and the load may differ. The new worker
//! generates the committed tokens again and compares each one before it sends anything new; on a difference it fails. The cost
//! is time: a prefix of 500 tokens takes as long as generating 500 tokens.
//!
//! [`Gguf`] lists the parameters and defaults. Not supported: GPUs, sharing the memory of a common prefix, tools, and
//! reasoning separate from the answer.
//!
//! A failed assertion inside llama.cpp ends the process, and the jobs go to other workers. Any other failure (a panic, a failed
//! step, no memory for the slots) is logged, fails the running generations, and the model is built again.

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
/// Defaults: temperature 0.8, `top_k` 40, `top_p` 0.95, and a seed from the id of the generation. An answer ends with
/// [`tokenwire_core::FinishReason::Length`] after `max_tokens`, counted over all attempts, or when the slot's context is
/// full.
#[derive(Debug)]
pub struct Gguf {
    prompts: Arc<Prompts>,
    thread: Arc<Thread>,
}

impl Gguf {
    /// Loads a model file and starts its thread. Blocks for a second or longer: not for async code.
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

    /// The tokens of a conversation. Refuses one that leaves no room for an answer.
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
    /// Exact when the tokens are of this vocabulary and their text is a prefix of the text. [`Generation`] checks the rest.
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
