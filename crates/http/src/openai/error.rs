//! A [`Problem`] as OpenAI's clients read it: before the first byte as a response, after it as an object in the stream.
//!
//! ```json
//! {"error": {"message": "...", "type": "invalid_request_error", "param": "n", "code": null}}
//! ```
//!
//! The SDKs choose the class of their exception by the status, and retry 408, 409, 429 and 5xx by themselves, twice. Where a
//! retry cannot help, the response says `x-should-retry: false`.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::front::{
    location::location,
    problem::{Problem, ProblemKind},
};

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// A problem that is answered in OpenAI's envelope.
#[derive(Debug)]
pub(crate) struct OpenAiError(Problem);

/// What went wrong. All four fields are always there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorObject<'a> {
    /// For people: what happened, then what to do.
    pub(super) message: &'a str,
    /// `invalid_request_error` or `server_error`.
    r#type: &'static str,
    /// The part of the request that is meant, where there is one.
    #[schema(required)]
    param: Option<&'a str>,
    /// For programs: it never changes.
    #[schema(required)]
    pub(super) code: Option<&'static str>,
}

/// The body of a refusal, and of the event that ends a failed stream.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorEnvelope<'a> {
    error: ErrorObject<'a>,
}

impl<'a> ErrorObject<'a> {
    pub(super) fn of(problem: &'a Problem) -> Self {
        let server = problem.status.is_server_error();
        Self {
            message: &problem.message,
            r#type: if server { "server_error" } else { "invalid_request_error" },
            param: problem.field.as_deref(),
            code: code(problem),
        }
    }
}

impl<'a> ErrorEnvelope<'a> {
    pub(super) fn of(problem: &'a Problem) -> Self {
        Self { error: ErrorObject::of(problem) }
    }
}

/// OpenAI has no code for most mistakes in a request, and its own word for two.
fn code(problem: &Problem) -> Option<&'static str> {
    match problem.code {
        "invalid_json"
        | "invalid_body"
        | "invalid_field"
        | "invalid_query"
        | "unsupported_media_type"
        | "body_too_large"
        | "body_too_slow"
        | "broken_body" => None,
        "generation_not_found" => Some("not_found"),
        "path_not_found" => Some("unknown_url"),
        code => Some(code),
    }
}

/// OpenAI answers 400 to every body that it understands and does not take.
pub(super) fn status(problem: &Problem) -> StatusCode {
    match problem.status {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    }
}

impl<P: Into<Problem>> From<P> for OpenAiError {
    fn from(problem: P) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let mut response = (status(&problem), Json(ErrorEnvelope::of(&problem))).into_response();
        let headers = response.headers_mut();
        if problem.kind == ProblemKind::Final {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        headers.extend(problem.retry_after.map(|after| (RETRY_AFTER, HeaderValue::from(after.as_secs()))));
        headers.extend(problem.generation.map(location));
        response
    }
}
