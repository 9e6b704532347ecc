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

use crate::{
    openai::refusal,
    support::{Stage, text},
};

fn names() -> ModelNames {
    let name = |text: &str| ModelName::new(text).unwrap();
    let small = Catalogue::default().with(name("small"), Arc::new(Small));
    ModelNames::new(name("large"), [name("small"), name("org/Aged-1")]).checked_by(small)
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
    assert_eq!(listed, json!({"object": "list", "data": [large, model("org/Aged-1"), model("small")]}));
}

#[tokio::test]
async fn one_model_is_found_by_its_name_escaped_or_not() {
    let stage = Stage::knowing(names());
    for (path, id) in [("small", "small"), ("org/Aged-1", "org/Aged-1"), ("org%2FAged-1", "org/Aged-1")] {
        let response = stage.get(&format!("/v1/models/{path}"), &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let model: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(model, json!({"id": id, "object": "model", "created": 0, "owned_by": "tokenwire"}));
    }
    for path in ["gpt", "org", "a%20b", "%ff"] {
        let (status, error) = refusal(stage.get(&format!("/v1/models/{path}"), &[]).await).await;
        assert_eq!((status, &error["code"]), (404, &json!("model_not_found")), "{path}");
    }
}

#[tokio::test]
async fn what_a_model_can_never_answer_is_refused_before_it_is_stored() {
    let stage = Stage::knowing(names());
    let id = GenerationId::fresh();
    let ask = |query| json!({"query": query, "model": "small", "uuid": id}).to_string();
    let chat = json!({"model": "small", "messages": [{"role": "user", "content": "one two three four"}]});
    let (status, error) = refusal(stage.chat(&chat, &[]).await).await;
    assert_eq!((status, &error["message"]), (400, &json!("4 words, I take 3")));
    let refused = stage.post(&ask("one two three four")).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let told: Value = serde_json::from_str(&text(refused).await).unwrap();
    assert_eq!(told, json!({"error": {"type": "rejected", "message": "4 words, I take 3"}}));
    assert_eq!(stage.get(&format!("/ask/{id}"), &[]).await.status(), StatusCode::NOT_FOUND);
    // The id is still free.
    assert_eq!(stage.post(&ask("one two three")).await.status(), StatusCode::OK);
}
