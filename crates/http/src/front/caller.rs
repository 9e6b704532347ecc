//! Who sends a request.
//!
//! Every route that begins a generation extracts a [`Caller`] and passes it on to [`App::submit`](super::app::App::submit).
//! There are no keys yet, so every caller is anonymous. Access control will change this file and no front end.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};

/// Who sent a request, as the core stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller(pub(crate) tokenwire_core::Caller);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(tokenwire_core::Caller::Anonymous))
    }
}
