//! What callers learn of models, and what a model says about a request before it is accepted.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokenwire_core::{
    Catalogue, GenerateRequest, GenerationId, Model, ModelName,
    catalogue::ModelNames,
    model::{Continuation, ModelError, OutputStream},
    token_log::Prefix,
};

use crate::support::{Stage, text};

fn names() -> ModelNames {
    let name = |text: &str| ModelName::new(text).unwrap();
    let small = Catalogue::default().with(name("small"), Arc::new(Small));
    ModelNames::new(name("large"), [name("small"), name("aged")]).checked_by(small)
}

/// A model with room for very little.
#[derive(Debug)]
struct Small;

#[async_trait]
impl Model for Small {
    fn continuation(&self, _so_far: &Prefix) -> Continuation {
        Continuation::Unsupported
    }

    async fn check(&self, request: &GenerateRequest) -> Result<(), ModelError> {
        let words = request.conversation.prompt().split_whitespace().count();
        if words <= 3 {
            Ok(())
        } else {
            Err(ModelError::Rejected { message: format!("{words} words, I take 3") })
        }
    }

    async fn generate(
        &self,
        _id: GenerationId,
        _request: &GenerateRequest,
        _so_far: &Prefix,
    ) -> Result<OutputStream, ModelError> {
        unreachable!("no worker runs here")
    }
}

#[tokio::test]
async fn the_models_are_listed_with_the_default_first() {
    let response = Stage::knowing(names()).get("/v1/models", &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    let listed: Value = serde_json::from_str(&text(response).await).unwrap();
    let model = |id| json!({"id": id, "object": "model", "created": 0, "owned_by": "tokenwire"});
    let mut large = model("large");
    large["default"] = json!(true);
    assert_eq!(listed, json!({"object": "list", "data": [large, model("aged"), model("small")]}));
}

#[tokio::test]
async fn what_a_model_can_never_answer_is_refused_before_it_is_stored() {
    let stage = Stage::knowing(names());
    let id = GenerationId::fresh();
    let ask = |query| json!({"query": query, "model": "small", "uuid": id}).to_string();
    let refused = stage.post(&ask("one two three four")).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let told: Value = serde_json::from_str(&text(refused).await).unwrap();
    assert_eq!(told, json!({"error": {"type": "rejected", "message": "4 words, I take 3"}}));
    assert_eq!(stage.get(&format!("/ask/{id}"), &[]).await.status(), StatusCode::NOT_FOUND);
    // The id is still free.
    assert_eq!(stage.post(&ask("one two three")).await.status(), StatusCode::OK);
}
