//! `GET /v1/models` and `GET /v1/models/{id}`: what can be asked.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use serde::Serialize;
use tokenwire_core::{ModelName, catalogue::ModelNames};
use utoipa::ToSchema;

use utoipa_axum::{router::OpenApiRouter, routes};

use super::error::{ErrorEnvelope, OpenAiError};
use crate::front::{
    app::{App, resolve_model},
    describe::refusals,
};

refusals!(ModelRefusals: ErrorEnvelope<'_>, 404);

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(retrieve))
}

/// Models, the default one first.
#[derive(Serialize, ToSchema)]
struct ModelList {
    #[schema(pattern = "^list$")]
    object: &'static str,
    data: Vec<Model>,
}

/// What can be asked.
#[derive(Serialize, ToSchema)]
struct Model {
    #[schema(value_type = String)]
    id: ModelName,
    #[schema(pattern = "^model$")]
    object: &'static str,
    /// 0: when it was made is not known.
    created: u64,
    owned_by: &'static str,
    /// Ours: set on the one that answers when a request names none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
}

impl Model {
    fn new(id: &ModelName, models: &ModelNames) -> Self {
        // Clients require a number here. The time at which a model was made is not known.
        let created = 0;
        let default = id == models.default_name();
        Self { id: id.clone(), object: "model", created, owned_by: "tokenwire", default }
    }
}

/// List the models
///
/// Every model that can be asked, the default one first.
#[utoipa::path(
    get,
    path = "/v1/models",
    operation_id = "listModels",
    tag = "Models",
    responses((status = 200, description = "The models.", body = ModelList)),
)]
async fn list(State(app): State<App>) -> Json<ModelList> {
    let models = app.generations.models();
    let default = models.default_name();
    let others = models.iter().filter(|name| *name != default);
    let data = std::iter::once(default).chain(others).map(|id| Model::new(id, models));
    Json(ModelList { object: "list", data: data.collect() })
}

/// Look up a model
///
/// One model. Names may have slashes, escaped or not.
#[utoipa::path(
    get,
    path = "/v1/models/{*name}",
    operation_id = "retrieveModel",
    tag = "Models",
    params(("name" = String, Path, description = "The name of the model.")),
    responses((status = 200, description = "The model.", body = Model), ModelRefusals),
)]
async fn retrieve(
    State(app): State<App>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Model>, OpenAiError> {
    let models = app.generations.models();
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    Ok(Json(Model::new(&resolve_model(Some(&name), models)?, models)))
}
