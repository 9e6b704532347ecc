//! `GET /v1/models`: what can be asked, in the form that OpenAI's clients read.

use axum::{Json, extract::State};
use serde::Serialize;
use tokenwire_core::ModelName;

use crate::app::App;

#[derive(Serialize)]
pub(crate) struct List {
    object: &'static str,
    data: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    id: ModelName,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// Ours: set on the one that answers when a request names none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
}

/// Every model, the default one first.
pub(crate) async fn list(State(app): State<App>) -> Json<List> {
    let models = app.generations.models();
    let default = models.default_name();
    let others = models.iter().filter(|name| *name != default);
    let data = std::iter::once(default).chain(others).map(|id| Listed {
        id: id.clone(),
        object: "model",
        // Clients want a number here; when somebody made a model is not known.
        created: 0,
        owned_by: "tokenwire",
        default: id == default,
    });
    Json(List { object: "list", data: data.collect() })
}
