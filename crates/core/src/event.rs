//! What a stream is made of: entries, each a position and an event.
//!
//! The serde forms here are stored for a day or more and read by other versions: adding a variant or an optional field
//! is fine, renaming one is a new stored version (see `token_log`'s record format).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The position of an entry in its stream, from 1. As a cursor: the last entry a reader saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(u64);

impl Seq {
    /// Before the first entry: the cursor of a reader that has seen nothing.
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

/// One opening of the write side of a stream, from 1. Issued by the log; a higher one fences all lower ones (I3, I4).
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

/// A model's own number for a piece of text. Meaningful only to the model that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub u32);

/// One position of a stream and what happened there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where in the stream.
    pub seq: Seq,
    /// When its writer appended it, by the writer's clock. For people and replays; nothing is ordered by it.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// What happened in a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A worker opened the stream and is about to generate.
    Started {
        /// Which opening this is.
        attempt: Attempt,
        /// What becomes of the text that earlier attempts left.
        text: TextSoFar,
        /// The region of the worker, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<String>,
    },
    /// A piece of generated text: often one token, never promised.
    Delta {
        /// The text. Any split of the answer is possible, except inside a character.
        text: String,
        /// The tokens it was made of, where the model knows them: what an exact continuation needs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tokens: Vec<TokenId>,
    },
    /// A piece of what the model thinks before it answers, where it tells. Not part of the answer.
    Reasoning {
        /// The text.
        text: String,
    },
    /// A piece of a call that the model wants its caller to make.
    ToolCall(ToolCallDelta),
    /// The model ended its answer. Terminal.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// What it cost.
        usage: Usage,
    },
    /// There will be no more text, and the answer is not whole. Terminal.
    Failed {
        /// Why.
        failure: Failure,
    },
}

impl Event {
    /// Whether nothing may follow this event (I1).
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Failed { .. })
    }

    /// How a terminal event ends its generation, in one word for logs and metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Finished { .. } => "finished",
            Self::Failed { failure } => failure.name(),
            Self::Started { .. } | Self::Delta { .. } | Self::Reasoning { .. } | Self::ToolCall(_) => {
                "unsealed"
            }
        }
    }

    /// How much of an answer the event holds: text, reasoning or a piece of a tool call, in bytes.
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

    /// About how much memory the event holds, in bytes; for bounds on buffers.
    pub fn size(&self) -> usize {
        // An empty event still costs an allocation or two and a place in a vector.
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

/// A piece of a tool call. The pieces of one call have its index; together they are its id, its name and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallDelta {
    /// Which call of this answer, from 0.
    pub index: u32,
    /// The model's id of the call, in its first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What to call, in its first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A piece of the arguments: JSON once all pieces are there, if the model keeps to it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arguments: String,
}

/// What a new attempt does with the text of earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextSoFar {
    /// This attempt goes on from it.
    Kept,
    /// It is void: readers clear what they show and start over.
    Superseded,
}

/// Why a model ended its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was done.
    Stop,
    /// It reached the limit of tokens.
    Length,
    /// It waits for the results of its tool calls.
    ToolCalls,
    /// Whoever runs the model held the rest back.
    ContentFilter,
}

/// What a generation cost, in the model's own tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the request.
    pub input_tokens: u64,
    /// Tokens of the answer, over all attempts.
    pub output_tokens: u64,
}

/// Why a generation ended without its whole answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No worker began in time. Ask again, or add workers.
    Expired,
    /// It ran longer than it may.
    TimedOut,
    /// It was told to stop.
    Cancelled {
        /// By whom.
        cause: CancelCause,
    },
    /// The model will never answer this request.
    Rejected {
        /// Why, for the caller.
        message: String,
    },
    /// As many attempts in a row as it may have asked the model and got no further.
    Exhausted {
        /// How many of these there were.
        attempts: u32,
        /// What went wrong last, for the caller.
        message: String,
    },
    /// Its job is gone: nobody will go on with it.
    Lost,
}

impl Failure {
    /// One word for logs and metrics.
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

/// Who told a generation to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelCause {
    /// Somebody asked for it.
    Requested,
    /// Its last reader went away, and the time of grace ran out.
    Abandoned,
}
