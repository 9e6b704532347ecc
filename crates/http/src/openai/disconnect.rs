//! `Tokenwire-On-Disconnect`: what happens to a generation once nobody reads it, where the client says.

use axum::http::{HeaderMap, HeaderName};
use tokenwire_core::token_log::OnDisconnect;

use super::error::ApiError;
use crate::config::{Config, GRACE};

const HEADER: HeaderName = HeaderName::from_static("tokenwire-on-disconnect");

/// What the client says, or this.
pub(super) fn or(
    otherwise: OnDisconnect,
    headers: &HeaderMap,
    config: &Config,
) -> Result<OnDisconnect, ApiError> {
    let grace = match config.on_disconnect {
        OnDisconnect::CancelAfter(grace) => grace,
        OnDisconnect::Detached => GRACE,
    };
    match headers.get(HEADER).map(|value| value.to_str().unwrap_or_default()) {
        None => Ok(otherwise),
        Some("detach") => Ok(OnDisconnect::Detached),
        Some("cancel") => Ok(OnDisconnect::CancelAfter(grace)),
        Some(_) => {
            let message = "Tokenwire-On-Disconnect must be detach or cancel";
            Err(ApiError::invalid("Tokenwire-On-Disconnect".to_owned(), message))
        }
    }
}
