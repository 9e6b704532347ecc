//! Where a generation of any front end can be read.

use axum::http::{HeaderName, HeaderValue, header::LOCATION};
use tokenwire_core::GenerationId;

/// The address of a generation, as a header.
pub(crate) fn location(id: GenerationId) -> (HeaderName, HeaderValue) {
    (LOCATION, HeaderValue::try_from(format!("/ask/{id}")).expect("a UUID is plain ASCII"))
}
