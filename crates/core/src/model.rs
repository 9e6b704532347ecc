//! The port to models: something that generates.
//!
//! A model is asked with a request and the text that earlier attempts committed, and answers with a stream of output.
//! It knows nothing of queues, logs or readers. Retrying, batching, deadlines and stopping are the worker's.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{
    BoxError,
    event::{FinishReason, TokenId, ToolCallDelta, Usage},
    id::GenerationId,
    request::GenerateRequest,
    token_log::Prefix,
};

/// Something that generates text. Implementations pass `testkit::conformance::model`.
#[async_trait]
pub trait Model: fmt::Debug + Send + Sync + 'static {
    /// What this model can do with what an earlier attempt left behind. Asked only when that is not empty.
    fn continuation(&self, so_far: &Prefix) -> Continuation;

    /// Whether this request could be answered at all, as far as that can be told without answering it: for a refusal
    /// before anything is stored. Cheap next to an answer.
    ///
    /// # Errors
    /// [`ModelError::Rejected`], with a reason for the caller.
    async fn check(&self, _request: &GenerateRequest) -> Result<(), ModelError> {
        Ok(())
    }

    /// Begins to generate, going on right after `so_far` (which is empty at first, and always where
    /// [`Self::continuation`] was [`Continuation::Unsupported`]).
    ///
    /// The stream yields any number of outputs, then [`Output::Finished`] once, then ends. An error ends it too. Dropping
    /// the stream, or this future, stops the work.
    ///
    /// # Errors
    /// [`ModelError`], here or in the stream; its variant says whether another attempt can help.
    async fn generate(
        &self,
        id: GenerationId,
        request: &GenerateRequest,
        so_far: &Prefix,
    ) -> Result<OutputStream, ModelError>;
}

/// What a model says, piece by piece.
pub type OutputStream = BoxStream<'static, Result<Output, ModelError>>;

/// What a model can do with text that an earlier attempt left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// Goes on with the very text that an undisturbed run would have given.
    Exact,
    /// Goes on with a valid continuation, another sample than an undisturbed run would have given.
    Resampled,
    /// Cannot go on: a new attempt starts over, and readers are told to clear what they show.
    Unsupported,
}

/// One thing a model said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A piece of text, never empty, never half a character.
    Text {
        /// The text.
        text: String,
        /// The tokens it was made of, where the model knows them.
        tokens: Vec<TokenId>,
    },
    /// A piece of what it thinks before it answers, never empty, never half a character.
    Reasoning {
        /// The text.
        text: String,
    },
    /// A piece of a call that it wants its caller to make.
    ToolCall(ToolCallDelta),
    /// It is at work and has nothing to say yet: it waits for its turn, or reads a long prompt.
    Working,
    /// The answer is whole.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// What it cost, `so_far` included.
        usage: Usage,
    },
}

/// Why a model gave no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It has no room now. The generation waits, for at least this time, and costs no attempt.
    #[error("the model is busy")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// It cannot be reached, or is not up: it was never asked. The generation waits, for at least this time, and costs no
    /// attempt.
    #[error("the model cannot be reached")]
    Absent {
        /// When to try again; zero where nothing is known.
        retry_after: Duration,
        /// Why.
        #[source]
        cause: BoxError,
    },
    /// It will never answer this request. The generation fails with this message.
    #[error("model rejected the request: {message}")]
    Rejected {
        /// Why, for the caller.
        message: String,
    },
    /// It was asked and broke. Another attempt may work; attempts that get no further are counted.
    #[error("the model failed")]
    Unavailable(#[source] BoxError),
}
