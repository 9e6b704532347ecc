//! What all front ends share: limits, errors, and common parameters. Nothing here depends on a front end.

pub(crate) mod app;
pub(crate) mod caller;
pub(crate) mod describe;
pub(crate) mod etag;
pub(crate) mod events;
pub(crate) mod fields;
pub(crate) mod idempotency;
pub(crate) mod json;
pub(crate) mod limits;
pub(crate) mod location;
pub(crate) mod metadata;
pub(crate) mod on_disconnect;
pub(crate) mod problem;
pub(crate) mod refusal;
pub(crate) mod request_id;
pub(crate) mod whole;
