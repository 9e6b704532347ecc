//! Everything that can go wrong before the first byte of an answer, and how it is told: one type, one envelope.
//!
//! ```json
//! {"error": {"type": "invalid_field", "message": "query is empty: write what you want to ask", "field": "query"}}
//! ```
//!
//! `type` is for programs and never changes; `message` is for people and says what to do; `field` names the part of the
//! request that is meant, where there is one. What goes wrong after the first byte belongs to [`crate::sse`].

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokenwire_core::{
    BoxError, GenerationId,
    follow::FollowError,
    generations::{AccessError, SubmitError},
};
use utoipa::ToSchema;

/// When a client that was turned away for lack of something may come back: soon, since what is short here comes back
/// within seconds or not at all.
pub(crate) const COME_BACK_AFTER: Duration = Duration::from_secs(2);

/// For people whose prompt was refused because too many wait.
pub(crate) const OVERLOADED: &str = "too many prompts wait already: try again shortly";

/// Why a request has no better answer. One variant for each thing that a client can do about it.
#[derive(Debug)]
pub(crate) enum Error {
    /// The body is not JSON.
    NotJson(serde_json::Error),
    /// The body is JSON, but not of the right shape.
    NotAnObject,
    /// A part of the request is missing or wrong.
    Field { field: String, message: String },
    /// The model will never answer this request.
    Rejected { message: String },
    /// A cursor that this server did not give out.
    Cursor(String),
    /// The body is declared as something else than JSON.
    NotDeclaredJson,
    /// The body is larger than this many bytes.
    TooLarge { limit: usize },
    /// The body did not arrive in time.
    TooSlow,
    /// The body broke off.
    BrokenBody,
    /// There is no such generation.
    NoGeneration(String),
    /// There is nothing at this path.
    NoSuchPath,
    /// Not with this method.
    WrongMethod,
    /// The id stands for another request.
    Conflict(GenerationId),
    /// As many streams are open as may be.
    TooManyStreams,
    /// As many prompts wait for a worker as may.
    Overloaded,
    /// The log or the queue is down. The cause is for the operator.
    Unavailable(BoxError),
}

/// A refusal, as a JSON object.
#[derive(Serialize, ToSchema)]
#[schema(as = Refusal)]
pub(crate) struct Envelope<'a> {
    error: Inside<'a>,
}

/// Why.
#[derive(Serialize, ToSchema)]
#[schema(as = RefusalReason)]
struct Inside<'a> {
    /// For programs: it never changes.
    r#type: &'a str,
    /// For people: what to do.
    message: &'a str,
    /// The part of the request that is meant, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'a str>,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, kind, message, field) = match self {
            Self::NotJson(error) => (
                StatusCode::BAD_REQUEST,
                "invalid_json",
                format!("the body is not JSON: {}", place(&error)),
                None,
            ),
            Self::NotAnObject => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_body",
                r#"the body must be a JSON object such as {"query": "..."}"#.to_owned(),
                None,
            ),
            Self::Field { field, message } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", message, Some(field))
            }
            Self::Rejected { message } => (StatusCode::UNPROCESSABLE_ENTITY, "rejected", message, None),
            Self::Cursor(message) => {
                (StatusCode::BAD_REQUEST, "invalid_cursor", message, Some("last_event_id".to_owned()))
            }
            Self::NotDeclaredJson => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "send JSON, and the header Content-Type: application/json".to_owned(),
                None,
            ),
            Self::TooLarge { limit } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("the body is larger than {limit} bytes"),
                None,
            ),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "body_too_slow",
                "the body did not arrive in time".to_owned(),
                None,
            ),
            Self::BrokenBody => {
                (StatusCode::BAD_REQUEST, "broken_body", "the body broke off before its end".to_owned(), None)
            }
            Self::NoGeneration(message) => (StatusCode::NOT_FOUND, "generation_not_found", message, None),
            Self::NoSuchPath => {
                (StatusCode::NOT_FOUND, "path_not_found", "there is nothing at this path".to_owned(), None)
            }
            Self::WrongMethod => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path does not take this method; the header Allow says which it takes".to_owned(),
                None,
            ),
            Self::Conflict(id) => (
                StatusCode::CONFLICT,
                "conflict",
                format!("generation {id} exists with another request: choose another uuid"),
                Some("uuid".to_owned()),
            ),
            Self::TooManyStreams => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_streams",
                "too many streams are open: try again shortly".to_owned(),
                None,
            ),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", OVERLOADED.to_owned(), None),
            Self::Unavailable(cause) => {
                tracing::warn!(cause = &*cause, "answered 503: a store is unavailable");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "prompts and answers cannot be stored or read now: try again shortly".to_owned(),
                    None,
                )
            }
        };
        let body =
            Json(Envelope { error: Inside { r#type: kind, message: &message, field: field.as_deref() } });
        let mut response = (status, body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(COME_BACK_AFTER.as_secs()));
        }
        response
    }
}

/// What is wrong with a JSON text and where, without quoting it: it may hold somebody's prompt.
pub(crate) fn place(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        _ => "there is a mistake",
    };
    format!("{what} at line {} column {}", error.line(), error.column())
}

impl From<SubmitError> for Error {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected { message } => Self::Rejected { message },
            SubmitError::Conflict(id) => Self::Conflict(id),
            SubmitError::Overloaded => Self::Overloaded,
            SubmitError::Unavailable(cause) => Self::Unavailable(cause),
        }
    }
}

impl From<FollowError> for Error {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::NotFound(_) | FollowError::Lost(_) => Self::NoGeneration(error.to_string()),
            FollowError::BeyondTail { .. } => Self::Cursor(error.to_string()),
            FollowError::Unavailable(cause) => Self::Unavailable(cause.into()),
        }
    }
}

impl From<AccessError> for Error {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::NotFound(_) => Self::NoGeneration(error.to_string()),
            AccessError::Unavailable(cause) => Self::Unavailable(cause.into()),
        }
    }
}

/// Errors as they could come, for the descriptions of operations: what clients are told is taken from them.
pub(crate) mod examples {
    use super::Error;
    use crate::{config::Config, json::wrong};

    /// What can be wrong with any body.
    pub(crate) fn of_bodies() -> impl Iterator<Item = Error> {
        let not_json = serde_json::from_str::<()>("{").err().map(Error::NotJson);
        let limit = Config::default().max_body;
        not_json.into_iter().chain([
            Error::BrokenBody,
            Error::TooSlow,
            Error::TooLarge { limit },
            Error::NotDeclaredJson,
        ])
    }

    /// What can keep a client from reading a stream from where it stands.
    pub(crate) fn of_streams() -> impl Iterator<Item = Error> {
        let cursor = Error::Cursor("the cursor is not the id of an event of this server".to_owned());
        [cursor, unavailable(), Error::TooManyStreams].into_iter()
    }

    pub(crate) fn unavailable() -> Error {
        Error::Unavailable("an example".into())
    }

    /// Something wrong with this field.
    pub(crate) fn field(name: &str, what: &str) -> Error {
        wrong(name, what)
    }
}
