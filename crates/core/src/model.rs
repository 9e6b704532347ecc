//! The port to models.
//!
//! A model gets a request and the text that earlier attempts committed, and returns a stream of output. The worker does
//! retries, batches, deadlines and stops.

use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;

pub use crate::error::ModelError;
use crate::{
    event::{FinishReason, TokenId, ToolCallDelta, Usage},
    id::GenerationId,
    request::GenerateRequest,
    token_log::Prefix,
};

/// A model. Implementations pass `testkit::conformance::model`.
#[async_trait]
pub trait Model: fmt::Debug + Send + Sync + 'static {
    /// Whether this model can continue this prefix. Called only with a prefix that is not empty.
    fn continuation(&self, so_far: &Prefix) -> Continuation;

    /// Rejects a request that the model can never answer, before anything is stored. Cheap compared to an answer.
    ///
    /// # Errors
    /// [`ModelError::Rejected`] with the reason, for the caller.
    async fn check(&self, _request: &GenerateRequest) -> Result<(), ModelError> {
        Ok(())
    }

    /// Begins to generate, right after `so_far`. It is empty for the first attempt, and always when [`Self::continuation`]
    /// returned [`Continuation::Unsupported`].
    ///
    /// The stream yields outputs, then [`Output::Finished`] once, then ends. An error ends it too. Dropping the stream, or this
    /// future, stops the work.
    ///
    /// # Errors
    /// [`ModelError`], here or in the stream.
    async fn generate(
        &self,
        id: GenerationId,
        request: &GenerateRequest,
        so_far: &Prefix,
    ) -> Result<OutputStream, ModelError>;
}

/// The output of a model.
pub type OutputStream = BoxStream<'static, Result<Output, ModelError>>;

/// How a model continues the text of an earlier attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// With exactly the text that an uninterrupted run would have returned.
    Exact,
    /// With newly sampled text that may differ from an uninterrupted run.
    Resampled,
    /// Not at all. A new attempt starts over, and readers clear the text.
    Unsupported,
}

/// One output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A delta of text. Never empty, and never ends inside a character.
    Text {
        /// The text.
        text: String,
        /// Its tokens, if the model reports them.
        tokens: Vec<TokenId>,
    },
    /// A delta of reasoning. Never empty, and never ends inside a character.
    Reasoning {
        /// The text.
        text: String,
    },
    /// A delta of a tool call.
    ToolCall(ToolCallDelta),
    /// A sign of life without output: the model waits for its turn, or reads a long prompt.
    Working,
    /// The answer is complete.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// The tokens it used, `so_far` included.
        usage: Usage,
    },
}
