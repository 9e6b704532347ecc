//! Generations, the three ports they need, and the two loops that move them.
//!
//! A *generation* is one run of a model for one request. Its *job* waits in a [`JobQueue`]. A [`Worker`] leases the job, runs a
//! [`Model`] and appends its output to the generation's *stream* in a [`TokenLog`]. Any number of readers [`follow`] the stream
//! from any position. Front ends use [`Generations`]: submit, follow, cancel.
//!
//! No I/O and no framework: no socket, file, AMQP, Redis or HTTP type. Adapters implement the ports, front ends call
//! [`Generations`], and the binary connects them.
//!
//! # Invariants
//!
//! Every adapter is tested against these (`testkit::conformance`), and comments name them by number.
//!
//! - **I1** A stream is the entries 1..=n without a gap. Exactly one is terminal, it is the last, and nothing follows it.
//! - **I2** Readers see only what the log has made durable to its configured level. Append first, deliver after.
//! - **I3** The newest writer owns the stream. An older one is refused at append, atomically, by the log itself.
//! - **I4** The log counts attempts. A queue's own count of deliveries is no verdict.
//! - **I5** A job is acknowledged after its stream is sealed, or after the queue has confirmed its successor (the same job,
//!   for its retry). A crash before the acknowledgement delivers the job again: its worker finds a sealed stream and
//!   acknowledges, or the job exists twice, which costs a second lease (I3).
//! - **I6** The stream exists before the job. A crash between the two leaves an empty stream that expires with a terminal
//!   event, never a job without a stream, never a reader that waits for ever.
//! - **I7** The log is the truth. A wake-up is a hint; it may carry the entries that it announces, and a follower uses
//!   them only when they are exactly the next ones after its cursor. Anything else is a read of the log. Losing every
//!   wake-up costs latency, never an entry.
//! - **I8** Wire encoders are folds over entries. Resuming is the same fold from the cursor: no second code path per front
//!   end.
//! - **I9** Accepted means durable: the client sees 200 (or an id) only once stream and job are both stored.
//! - **I10** Every accepted generation reaches exactly one terminal event that every reader learns of.
//! - **I11** An accepted generation ends for a reason of its own: it finished, was cancelled, ran out of its own time (queue
//!   or run), was rejected by the model, had its data lost or deleted, or its attempts asked the model and died again and
//!   again without getting further. What happens to a dependency, a process or a deployment costs time, never attempts;
//!   `end_by` never moves.
#![warn(missing_docs, clippy::missing_errors_doc)]

mod caller;
mod clock;
mod conversation;
mod epoch;
mod error;
mod event;
mod extras;
mod id;
mod job;
mod keeper;
mod request;
mod sampling;

pub mod catalogue;
pub mod job_queue;
pub mod model;
pub mod token_log;

pub mod follow;
pub mod generations;
pub mod metrics;
pub mod pump;
pub mod retry;
pub mod worker;

pub use caller::{Caller, CallerName, InvalidCallerName};
pub use catalogue::Catalogue;
pub use clock::{Clock, SteadyClock, SystemClock, Timestamp};
pub use conversation::{Conversation, InvalidConversation, Message, Role, ToolCall};
pub use epoch::Epoch;
pub use error::{BoxError, explain};
pub use event::{
    Attempt, CancelCause, Entry, Event, Failure, FinishReason, Seq, TextSoFar, TokenId, ToolCallDelta, Usage,
};
pub use extras::Extras;
pub use follow::Follower;
pub use generations::Generations;
pub use id::{GenerationId, InvalidId};
pub use job::Job;
pub use job_queue::{JobQueue, Lease, QueueError};
pub use model::Model;
pub use request::{Fingerprint, GenerateRequest, InvalidModelName, ModelName, UnknownForm};
pub use sampling::{InvalidStopTexts, OutOfRange, Sampling, StopTexts, Temperature, TopP};
pub use token_log::{LogError, LogWriter, TokenLog};
pub use worker::Worker;
