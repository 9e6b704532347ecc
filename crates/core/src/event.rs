//! The entries of a stream: each has a position and an event.
//!
//! The serde forms are stored and read by other versions. Adding a variant or an optional field is compatible. Renaming one
//! needs a new version of the record format of the `token-log` crate.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The position of an entry in its stream, from 1. As a cursor: the last entry that a reader has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(u64);

impl Seq {
    /// Before the first entry: the cursor of a new reader.
    pub const START: Self = Self(0);

    /// The position with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of this position.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position right after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position `count` entries further on.
    #[must_use]
    pub const fn plus(self, count: usize) -> Self {
        Self(self.0 + count as u64)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an opening of a stream for writing, from 1. The log issues it, and a higher one fences lower ones (I3, I4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(u32);

impl Attempt {
    /// The attempt with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number of this attempt.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A model's number for a part of text. Only the model that made it understands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub u32);

/// One entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub seq: Seq,
    /// When it was appended, by the clock of its writer. Only for display: nothing is ordered by it.
    pub at: Timestamp,
    /// The event.
    pub event: Event,
}

/// An event of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An attempt began.
    Started {
        /// Its number.
        attempt: Attempt,
        /// Whether the text of earlier attempts stays.
        text: TextSoFar,
        /// The region of the worker, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<String>,
    },
    /// A delta of the answer's text, often one token.
    Delta {
        /// The text. A delta never ends inside a character.
        text: String,
        /// Its tokens, if the model reports them. An exact continuation needs them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tokens: Vec<TokenId>,
    },
    /// A delta of the model's reasoning. Not part of the answer.
    Reasoning {
        /// The text.
        text: String,
    },
    /// A delta of a tool call.
    ToolCall(ToolCallDelta),
    /// The model finished its answer. Terminal.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// The tokens it used.
        usage: Usage,
    },
    /// The generation ended without a complete answer. Terminal.
    Failed {
        /// Why.
        failure: Failure,
    },
}

impl Event {
    /// Whether this is the last event of its stream (I1).
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Failed { .. })
    }

    /// The outcome of a terminal event, for logs and metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Finished { .. } => "finished",
            Self::Failed { failure } => failure.name(),
            Self::Started { .. } | Self::Delta { .. } | Self::Reasoning { .. } | Self::ToolCall(_) => {
                "unsealed"
            }
        }
    }

    /// The size of the text, reasoning or tool call delta, in bytes.
    pub fn content_bytes(&self) -> u64 {
        match self {
            Self::Delta { text, .. } | Self::Reasoning { text } => text.len() as u64,
            Self::ToolCall(ToolCallDelta { index: _, id, name, arguments }) => {
                let texts =
                    [id.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default(), arguments];
                texts.iter().map(|text| text.len() as u64).sum()
            }
            Self::Started { .. } | Self::Finished { .. } | Self::Failed { .. } => 0,
        }
    }

    /// The approximate memory of the event in bytes, for bounds on buffers.
    pub fn size(&self) -> usize {
        // Allocations, and the place in a vector.
        const OVERHEAD: usize = 64;
        OVERHEAD
            + match self {
                Self::Delta { text, tokens } => text.len() + tokens.len() * size_of::<TokenId>(),
                Self::Reasoning { text } => text.len(),
                Self::ToolCall(ToolCallDelta { index: _, id, name, arguments }) => {
                    id.as_ref().map_or(0, String::len)
                        + name.as_ref().map_or(0, String::len)
                        + arguments.len()
                }
                Self::Started { .. } | Self::Finished { .. } | Self::Failed { .. } => 0,
            }
    }
}

/// A delta of a tool call. The deltas of one call share its index. Together they are its id, name and arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallDelta {
    /// Which call of this answer, from 0.
    pub index: u32,
    /// The model's id of the call, in the first delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The name of the tool, in the first delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A delta of the arguments. All together are JSON, if the model is correct.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arguments: String,
}

/// Whether an attempt keeps the text of earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextSoFar {
    /// The attempt continues it.
    Kept,
    /// The text is discarded. Readers clear it and start over.
    Superseded,
}

/// Why a model ended its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The answer was complete.
    Stop,
    /// It reached the token limit.
    Length,
    /// It waits for the results of its tool calls.
    ToolCalls,
    /// The operator of the model filtered the rest.
    ContentFilter,
}

/// The tokens of a generation, as its model counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the request.
    pub input_tokens: u64,
    /// Tokens of the answer, over all attempts.
    pub output_tokens: u64,
}

/// Why a generation ended without a complete answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No worker began in time.
    Expired,
    /// Its running time was over.
    TimedOut,
    /// It was stopped.
    Cancelled {
        /// By what.
        cause: CancelCause,
    },
    /// The model can never answer this request.
    Rejected {
        /// Why, for the caller.
        message: String,
    },
    /// Too many attempts in a row asked the model and made no progress.
    Exhausted {
        /// How many.
        attempts: u32,
        /// The last error, for the caller.
        message: String,
    },
    /// Its job or its data is gone. No worker continues it.
    Lost,
}

impl Failure {
    /// Its name in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::TimedOut => "timed_out",
            Self::Cancelled { .. } => "cancelled",
            Self::Rejected { .. } => "rejected",
            Self::Exhausted { .. } => "exhausted",
            Self::Lost => "lost",
        }
    }
}

/// Why a generation was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelCause {
    /// A client asked for it.
    Requested,
    /// Its last reader left, and its grace time is over.
    Abandoned,
}
