//! What goes wrong, as OpenAI's clients read it: before the first byte as an answer, after it as an object in the stream.
//!
//! ```json
//! {"error": {"message": "...", "type": "invalid_request_error", "param": "n", "code": null}}
//! ```
//!
//! The SDKs choose the class of their exception by the status, and try 408, 409, 429 and 5xx again by themselves, twice.
//! Where that would be wrong the answer says `x-should-retry: false`.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokenwire_core::GenerationId;
use utoipa::ToSchema;

use crate::{
    error::{COME_BACK_AFTER, Error, OVERLOADED, place},
    paths,
};

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a call has no better answer.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    object: ErrorObject,
    retry: Retry,
    /// Set once there is a generation to be read elsewhere.
    generation: Option<GenerationId>,
}

/// What went wrong. All four fields are always there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErrorObject)]
pub(super) struct ErrorObject {
    /// For people: what to do.
    message: String,
    /// `invalid_request_error` or `server_error`.
    r#type: &'static str,
    /// The part of the request that is meant, where there is one.
    #[schema(required)]
    param: Option<String>,
    /// For programs: it never changes.
    #[schema(required)]
    code: Option<&'static str>,
}

/// What went wrong, as it travels.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErrorEnvelope)]
pub(super) struct Envelope<'a> {
    error: &'a ErrorObject,
}

/// What the client should do about its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// What the status says by itself.
    AsUsual,
    /// The same request can have no other answer.
    Never,
}

impl ApiError {
    /// The request is wrong; a part of it, if there is a `param`.
    pub(super) fn invalid(param: impl Into<Option<String>>, message: impl Into<String>) -> Self {
        let object = ErrorObject {
            message: message.into(),
            r#type: "invalid_request_error",
            param: param.into(),
            code: None,
        };
        Self { status: StatusCode::BAD_REQUEST, object, retry: Retry::AsUsual, generation: None }
    }

    /// The server could not.
    pub(super) fn server(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let object =
            ErrorObject { message: message.into(), r#type: "server_error", param: None, code: Some(code) };
        Self { status, object, retry: Retry::AsUsual, generation: None }
    }

    /// With one word for programs.
    #[must_use]
    pub(super) fn coded(mut self, code: &'static str) -> Self {
        self.object.code = Some(code);
        self
    }

    #[must_use]
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same request can have no other answer.
    #[must_use]
    pub(super) fn final_answer(mut self) -> Self {
        self.retry = Retry::Never;
        self
    }

    /// The same key would find the same generation. One that could not be read now still can.
    #[must_use]
    pub(super) fn same_again(self) -> Self {
        match self.object.code {
            Some("unavailable" | "draining") => self,
            _ => self.final_answer(),
        }
    }

    /// There is a generation, and it can be read at its own address.
    #[must_use]
    pub(super) fn about(mut self, id: GenerationId) -> Self {
        self.generation = Some(id);
        self
    }

    /// The status that says it where there is one.
    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(super) fn object(&self) -> &ErrorObject {
        &self.object
    }

    /// As an event of a stream.
    pub(super) fn envelope(&self) -> Envelope<'_> {
        Envelope { error: &self.object }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.envelope())).into_response();
        let headers = response.headers_mut();
        if self.retry == Retry::Never {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        } else if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(COME_BACK_AFTER.as_secs()));
        }
        if let Some(id) = self.generation {
            headers.extend([paths::location(id)]);
        }
        response
    }
}

impl<E: Into<Error>> From<E> for ApiError {
    fn from(error: E) -> Self {
        match error.into() {
            Error::NotJson(error) => Self::invalid(None, format!("the body is not JSON: {}", place(&error))),
            Error::NotAnObject => Self::invalid(None, "the body must be a JSON object"),
            Error::Field { field, message } => Self::invalid(field, message),
            Error::Rejected { message } => Self::invalid(None, message).coded("rejected"),
            Error::Cursor(message) => Self::invalid(None, message).coded("invalid_cursor"),
            Error::NotDeclaredJson => {
                Self::invalid(None, "send JSON, and the header Content-Type: application/json")
                    .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            Error::TooLarge { limit } => {
                Self::invalid(None, format!("the body is larger than {limit} bytes"))
                    .with_status(StatusCode::PAYLOAD_TOO_LARGE)
            }
            Error::TooSlow => Self::invalid(None, "the body did not arrive in time")
                .with_status(StatusCode::REQUEST_TIMEOUT),
            Error::BrokenBody => Self::invalid(None, "the body broke off before its end"),
            Error::NoGeneration(message) => {
                Self::invalid(None, message).with_status(StatusCode::NOT_FOUND).coded("not_found")
            }
            Error::NoSuchPath => Self::invalid(None, "there is nothing at this path")
                .with_status(StatusCode::NOT_FOUND)
                .coded("unknown_url"),
            Error::WrongMethod => Self::invalid(
                None,
                "this path does not take this method; the header Allow says which it takes",
            )
            .with_status(StatusCode::METHOD_NOT_ALLOWED)
            .coded("method_not_allowed"),
            Error::Conflict(id) => Self::invalid(
                None,
                format!("generation {id} exists with another request: choose another key"),
            )
            .with_status(StatusCode::CONFLICT)
            .coded("conflict")
            .final_answer(),
            Error::TooManyStreams => Self::server(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_streams",
                "too many streams are open: try again shortly",
            ),
            Error::Overloaded => Self::server(StatusCode::SERVICE_UNAVAILABLE, "overloaded", OVERLOADED),
            Error::Unavailable(cause) => {
                tracing::warn!(cause = &*cause, "answered 503: a store is unavailable");
                Self::server(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "prompts and answers cannot be stored or read now: try again shortly",
                )
            }
        }
    }
}
