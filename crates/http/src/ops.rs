//! For operators and tools: whether the process works, what it has counted, and what its API is.

pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod openapi;
