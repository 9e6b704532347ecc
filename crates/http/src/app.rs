//! What the handlers of all front ends share.

use std::sync::Arc;

use tokenwire_core::Generations;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, limits::Limits};

/// What handlers share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) generations: Generations,
    pub(crate) limits: Limits,
    pub(crate) config: Arc<Config>,
    /// Fires when streams are to be cut, so that their readers go elsewhere.
    pub(crate) drain: CancellationToken,
}
