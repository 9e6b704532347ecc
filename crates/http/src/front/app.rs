//! What the handlers of all front ends share.

use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;
use tokenwire_core::{
    Follower, GenerateRequest, GenerationId, Generations, ModelName,
    catalogue::ModelNames,
    generations::{Accepted, Submission},
    token_log::OnDisconnect,
};
use tokio_util::sync::CancellationToken;

use super::{caller::Caller, limits::Limits, problem::Problem};
use crate::{config::Config, stream::reader::StreamReader};

/// What handlers share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) generations: Generations,
    pub(crate) limits: Limits,
    pub(crate) config: Arc<Config>,
    /// Fires when the server drains: streams are cut, so that their readers go to another replica.
    pub(crate) drain: CancellationToken,
}

impl App {
    /// Stores a generation, or finds the one with the same id. `metadata` is for the front end to read later.
    pub(crate) async fn submit(
        &self,
        caller: Caller,
        id: GenerationId,
        request: GenerateRequest,
        on_disconnect: OnDisconnect,
        metadata: Bytes,
    ) -> Result<Accepted, Problem> {
        let Caller(caller) = caller;
        let submission = Submission { id, caller, request, on_disconnect, metadata };
        Ok(self.generations.submit(submission).await?)
    }

    /// A reader of a stream through an encoder.
    pub(crate) fn reader<E>(&self, id: GenerationId, follower: Follower, encoder: E) -> StreamReader<E> {
        StreamReader::new(id, follower, encoder, self.config.heartbeat, self.drain.clone())
    }
}

/// The model of this name. Default: the first model.
pub(crate) fn resolve_model(name: Option<&str>, models: &ModelNames) -> Result<ModelName, Problem> {
    let Some(name) = name else { return Ok(models.default_name().clone()) };
    match ModelName::new(name) {
        Ok(name) if models.contains(&name) => Ok(name),
        Ok(_) | Err(_) => {
            let available = models.iter().map(ModelName::as_str).collect::<Vec<_>>().join(", ");
            let message = format!("model is not one of those that exist: {available}");
            Err(Problem::request(StatusCode::NOT_FOUND, "model_not_found", message).about_field("model"))
        }
    }
}
