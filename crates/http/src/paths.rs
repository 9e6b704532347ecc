//! Every path that this server answers, and nothing else, so that a change of the public surface is a change of this
//! file. The page's files have their paths in [`crate::ui`].

/// Ask: `POST`.
pub(crate) const ASK: &str = "/ask";

/// One generation: `GET` reads it, `DELETE` stops it.
pub(crate) const GENERATION: &str = "/ask/{uuid}";

/// The models that can be asked: `GET`.
pub(crate) const MODELS: &str = "/v1/models";

/// Whether the process lives: `GET`.
pub(crate) const HEALTH: &str = "/health";

/// Whether a prompt would be accepted: `GET`.
pub(crate) const READY: &str = "/ready";

/// What this process has counted, for operators: `GET`. Not on the public listener.
pub(crate) const METRICS: &str = "/metrics";

/// The path of one generation.
pub(crate) fn generation(id: tokenwire_core::GenerationId) -> String {
    format!("{ASK}/{id}")
}
