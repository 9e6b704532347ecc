//! `Tokenwire-On-Disconnect`: whether a generation without readers is cancelled or goes on.

use axum::http::{HeaderMap, HeaderName};
use tokenwire_core::token_log::OnDisconnect;

use serde_json::json;

use super::{
    describe::{header, parameters},
    fields::one_of,
    problem::Problem,
};
use crate::config::{Config, GRACE};

const HEADER: HeaderName = HeaderName::from_static("tokenwire-on-disconnect");

parameters!(
    /// The header, for the OpenAPI document.
    OnDisconnectHeader,
    header(
        "Tokenwire-On-Disconnect",
        "What happens to a generation that has no readers: `cancel` stops it after the grace time, `detach` lets it finish.",
        one_of(["cancel", "detach"].map(|word| json!(word))),
    ),
);

/// What the header says; `otherwise` without one.
pub(crate) fn or(
    otherwise: OnDisconnect,
    headers: &HeaderMap,
    config: &Config,
) -> Result<OnDisconnect, Problem> {
    let grace = match config.on_disconnect {
        OnDisconnect::CancelAfter(grace) => grace,
        OnDisconnect::Detached => GRACE,
    };
    match headers.get(HEADER).map(|value| value.to_str().unwrap_or_default()) {
        None => Ok(otherwise),
        Some("detach") => Ok(OnDisconnect::Detached),
        Some("cancel") => Ok(OnDisconnect::CancelAfter(grace)),
        Some(_) => Err(Problem::invalid_field("Tokenwire-On-Disconnect", "must be detach or cancel")),
    }
}
