//! The document that programs read, and what is there.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use serde_json::Value;

use crate::support::{Stage, text};

async fn document(stage: &Stage) -> Value {
    let response = stage.get("/openapi.json", &[]).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    serde_json::from_str(&text(response).await).unwrap()
}

/// What the server answers at a path, by its own word.
async fn allowed(stage: &Stage, path: &str) -> BTreeSet<String> {
    let response = stage.call(Method::from_bytes(b"PURGE").unwrap(), path, &[], Body::empty()).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
    let allowed = response.headers()[header::ALLOW].to_str().unwrap();
    // Whatever is read can be asked for without its body.
    allowed.split(',').map(|method| method.trim().to_lowercase()).filter(|method| method != "head").collect()
}

#[tokio::test]
async fn every_method_that_is_described_is_answered_and_no_other() {
    let stage = Stage::new();
    let document = document(&stage).await;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let described: BTreeSet<_> = operations.as_object().unwrap().keys().cloned().collect();
        let filled = path.replace(['{', '}'], "");
        let answered = allowed(&stage, &filled).await;
        assert_eq!(described, answered, "{path}");
    }
}

#[tokio::test]
async fn a_client_that_has_the_document_is_told_so() {
    let stage = Stage::new();
    let response = stage.get("/openapi.json", &[]).await;
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
    let etag = response.headers()[header::ETAG].to_str().unwrap().to_owned();
    assert_eq!(text(response).await, tokenwire_http::openapi::document());
    let unchanged = stage.get("/openapi.json", &[("if-none-match", &etag)]).await;
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(text(unchanged).await, "");
}
