//! `GET /v1/models` and `GET /v1/models/{id}`: what can be asked.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use serde::Serialize;
use tokenwire_core::{ModelName, catalogue::ModelNames};
use utoipa::ToSchema;

use super::error::OpenAiError;
use crate::{
    front::app::{App, resolve_model},
    openapi::schemas::is,
};

/// Models, the default one first.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelList)]
pub(super) struct List {
    #[schema(schema_with = is::list)]
    object: &'static str,
    data: Vec<Model>,
}

/// What can be asked.
#[derive(Serialize, ToSchema)]
pub(super) struct Model {
    #[schema(value_type = String)]
    id: ModelName,
    #[schema(schema_with = is::model)]
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
        // Clients want a number here; when somebody made a model is not known.
        let created = 0;
        let default = id == models.default_name();
        Self { id: id.clone(), object: "model", created, owned_by: "tokenwire", default }
    }
}

/// Every model, the default one first.
pub(super) async fn list(State(app): State<App>) -> Json<List> {
    let models = app.generations.models();
    let default = models.default_name();
    let others = models.iter().filter(|name| *name != default);
    let data = std::iter::once(default).chain(others).map(|id| Model::new(id, models));
    Json(List { object: "list", data: data.collect() })
}

/// One model.
pub(super) async fn retrieve(
    State(app): State<App>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Model>, OpenAiError> {
    let models = app.generations.models();
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    Ok(Json(Model::new(&resolve_model(Some(&name), models)?, models)))
}
