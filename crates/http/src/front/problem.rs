//! All errors of all front ends: requests that are refused, and answers that fail.
//!
//! A [`Problem`] says what happened, and what the client can do about it. Each front end renders it in its own envelope: before
//! the first byte as a response, after it as an event of the stream.

use std::{fmt, time::Duration};

use axum::http::StatusCode;
use tokenwire_core::{
    BoxError, CancelCause, Failure, GenerationId,
    follow::FollowError,
    generations::{AccessError, SubmitError},
};

/// When a client may ask again after a refusal for lack of capacity, which is usually free again within seconds.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    /// Used only before the first byte is sent.
    pub(crate) status: StatusCode,
    /// For programs: it never changes.
    pub(crate) code: &'static str,
    /// For people: what happened, then what to do. It never quotes what a client sent, which may be private.
    pub(crate) message: String,
    /// The wrong part of the request, as a path such as `messages[0].content`.
    pub(crate) field: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// The generation that can be read at its own address, if there is one.
    pub(crate) generation: Option<GenerationId>,
}

/// What the client can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// Change the request.
    Request,
    /// Send the same request again.
    Retry,
    /// Nothing: the same request has the same outcome.
    Final,
}

impl Problem {
    /// The client has to change its request.
    pub(crate) fn request(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let (kind, message) = (ProblemKind::Request, message.into());
        Self { kind, status, code, message, field: None, retry_after: None, generation: None }
    }

    /// The server failed, and may succeed later.
    pub(crate) fn server(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER);
        Self { kind: ProblemKind::Retry, retry_after, ..Self::request(status, code, message) }
    }

    /// A field is missing or wrong. The message begins with its name.
    pub(crate) fn invalid_field(field: impl Into<String>, what: impl fmt::Display) -> Self {
        let field = field.into();
        let message = format!("{field} {what}");
        Self::request(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", message).about_field(field)
    }

    #[must_use]
    pub(crate) fn about_field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    #[must_use]
    pub(crate) fn about_generation(self, id: GenerationId) -> Self {
        Self { generation: Some(id), ..self }
    }

    /// Marks it as final: the same request has the same outcome.
    #[must_use]
    pub(crate) fn final_outcome(self) -> Self {
        Self { kind: ProblemKind::Final, retry_after: None, ..self }
    }

    /// The end of a call that waited for this generation. A call with an idempotency key would find the same failure again,
    /// unless the generation could not be read now.
    #[must_use]
    pub(crate) fn of_call(self, id: GenerationId, key: Option<GenerationId>) -> Self {
        let can_change = key.is_none() || matches!(self.code, "unavailable" | "draining");
        let problem = if can_change { self } else { self.final_outcome() };
        problem.about_generation(id)
    }

    /// The body is not JSON. The message gives the place, and does not quote the body.
    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        let what = match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            _ => "there is a mistake",
        };
        let message =
            format!("the body is not JSON: {what} at line {} column {}", error.line(), error.column());
        Self::request(StatusCode::BAD_REQUEST, "invalid_json", message)
    }

    pub(crate) fn not_an_object() -> Self {
        Self::request(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", "the body must be a JSON object")
    }

    pub(crate) fn not_declared_json() -> Self {
        let message = "send JSON, and the header Content-Type: application/json";
        Self::request(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Self::request(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    pub(crate) fn too_slow() -> Self {
        Self::request(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "the body did not arrive in time")
    }

    pub(crate) fn broken_body() -> Self {
        Self::request(StatusCode::BAD_REQUEST, "broken_body", "the body broke off before its end")
    }

    pub(crate) fn invalid_cursor(message: impl Into<String>) -> Self {
        Self::request(StatusCode::BAD_REQUEST, "invalid_cursor", message).about_field("last_event_id")
    }

    pub(crate) fn invalid_query() -> Self {
        Self::request(StatusCode::BAD_REQUEST, "invalid_query", "the query of the address is malformed")
    }

    pub(crate) fn generation_not_found(message: impl Into<String>) -> Self {
        Self::request(StatusCode::NOT_FOUND, "generation_not_found", message)
    }

    pub(crate) fn path_not_found() -> Self {
        Self::request(StatusCode::NOT_FOUND, "path_not_found", "there is nothing at this path")
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "this path does not take this method; the header Allow says which it takes";
        Self::request(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    pub(crate) fn conflict(id: GenerationId) -> Self {
        let message = format!("generation {id} exists with another request: choose another id or key");
        Self::request(StatusCode::CONFLICT, "conflict", message).final_outcome()
    }

    pub(crate) fn rejected(message: impl Into<String>) -> Self {
        Self::request(StatusCode::UNPROCESSABLE_ENTITY, "rejected", message)
    }

    pub(crate) fn too_many_streams() -> Self {
        let message = "too many streams are open: try again shortly";
        Self::server(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message)
    }

    pub(crate) fn overloaded() -> Self {
        let message = "too many prompts wait already: try again shortly";
        Self::server(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message)
    }

    /// The log or the queue is down. The cause is for the operator, so it is logged here.
    pub(crate) fn unavailable(cause: impl Into<BoxError>) -> Self {
        tracing::warn!(cause = &*cause.into(), "answered 503: a store is unavailable");
        let message = "prompts and answers cannot be stored or read now: try again shortly";
        Self::server(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// The server drains and no byte was sent. Another replica can answer.
    pub(crate) fn draining(message: &str) -> Self {
        Self::server(StatusCode::SERVICE_UNAVAILABLE, "draining", message)
    }

    /// The log has lost the stream, including its terminal entry.
    pub(crate) fn stream_lost() -> Self {
        Self::lost("the server lost this answer before its end: ask again")
    }

    /// The model started over after the client saw text, and the format cannot take text back.
    pub(crate) fn started_over() -> Self {
        let message = "the model started its answer over, which this format cannot say: ask again, or read the answer at \
                       the address in Location";
        Self::server(StatusCode::INTERNAL_SERVER_ERROR, "started_over", message)
    }

    /// The answer is too large to be sent whole.
    pub(crate) fn answer_too_large(message: String) -> Self {
        Self::server(StatusCode::INTERNAL_SERVER_ERROR, "answer_too_large", message).final_outcome()
    }

    fn lost(message: &str) -> Self {
        Self::server(StatusCode::INTERNAL_SERVER_ERROR, "lost", message)
    }
}

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Expired => {
                let message = "no worker began in time: ask again";
                Self::server(StatusCode::SERVICE_UNAVAILABLE, "expired", message)
            }
            Failure::TimedOut => {
                let message = "the answer took longer than it may";
                Self::server(StatusCode::GATEWAY_TIMEOUT, "timeout", message).final_outcome()
            }
            Failure::Cancelled { cause } => {
                let message = match cause {
                    CancelCause::Requested => "the answer was stopped on request",
                    CancelCause::Abandoned => "the answer was stopped because nobody was reading",
                };
                Self::request(StatusCode::CONFLICT, "cancelled", message).final_outcome()
            }
            Failure::Rejected { message } => Self::rejected(message),
            // All attempts are used up. SDKs that retry on their own would multiply them.
            Failure::Exhausted { attempts: _, message } => {
                Self::server(StatusCode::INTERNAL_SERVER_ERROR, "exhausted", message).final_outcome()
            }
            Failure::Lost => Self::lost("the server lost the job of this answer: ask again"),
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected { message } => Self::rejected(message),
            SubmitError::Conflict(id) => Self::conflict(id),
            SubmitError::Overloaded => Self::overloaded(),
            SubmitError::Unavailable(cause) => Self::unavailable(cause),
        }
    }
}

impl From<FollowError> for Problem {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::NotFound(_) | FollowError::Lost(_) => Self::generation_not_found(error.to_string()),
            FollowError::BeyondEnd { .. } => Self::invalid_cursor(error.to_string()),
            FollowError::Unavailable(cause) => Self::unavailable(cause),
        }
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::NotFound(_) => Self::generation_not_found(error.to_string()),
            AccessError::Unavailable(cause) => Self::unavailable(cause),
        }
    }
}
