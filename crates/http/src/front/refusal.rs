//! A [`Problem`] in Tokenwire's own envelope, for `/ask` and every path without another one.
//!
//! ```json
//! {"error": {"type": "invalid_field", "message": "query is empty: write what you want to ask", "field": "query"}}
//! ```

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;

/// A problem in Tokenwire's own envelope.
#[derive(Debug)]
pub(crate) struct Refusal(Problem);

/// The body of a refusal.
#[derive(Serialize, ToSchema)]
#[schema(as = Refusal)]
pub(crate) struct RefusalBody<'a> {
    error: RefusalReason<'a>,
}

/// Why.
#[derive(Serialize, ToSchema)]
struct RefusalReason<'a> {
    /// For programs: it never changes.
    r#type: &'a str,
    /// For people: what happened, then what to do.
    message: &'a str,
    /// The wrong field of the request, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'a str>,
}

impl<P: Into<Problem>> From<P> for Refusal {
    fn from(problem: P) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(Problem { status, code, message, field, retry_after, .. }) = self;
        // Only the name of the field: the message has the whole path.
        let field = field.as_deref().and_then(|path| path.split(['.', '[']).next());
        let (status, code, field) = match code {
            // In this envelope an unknown model is an invalid field.
            "model_not_found" => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", field),
            "conflict" => (status, code, Some("uuid")),
            _ => (status, code, field),
        };
        let error = RefusalReason { r#type: code, message: &message, field };
        let mut response = (status, Json(RefusalBody { error })).into_response();
        response
            .headers_mut()
            .extend(retry_after.map(|after| (RETRY_AFTER, HeaderValue::from(after.as_secs()))));
        response
    }
}
