//! The document that programs read, and what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use serde_json::{Value, json};
use tokenwire_core::GenerationId;

use crate::support::{JSON, Stage, text};

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
    assert_eq!(text(response).await, tokenwire_http::openapi_document());
    let unchanged = stage.get("/openapi.json", &[("if-none-match", &etag)]).await;
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(text(unchanged).await, "");
}

/// Every object in the document, and what is in them.
fn objects(document: &Value) -> Vec<&serde_json::Map<String, Value>> {
    let (mut found, mut inside) = (Vec::new(), vec![document]);
    while let Some(value) = inside.pop() {
        match value {
            Value::Object(fields) => {
                found.push(fields);
                inside.extend(fields.values());
            }
            Value::Array(items) => inside.extend(items),
            _ => {}
        }
    }
    found
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let document = document(&Stage::new()).await;
    let references = objects(&document).into_iter().filter_map(|fields| fields.get("$ref")?.as_str());
    let references: BTreeSet<_> = references.collect();
    assert!(references.len() > 50);
    for place in references {
        assert!(document.pointer(place.trim_start_matches('#')).is_some(), "{place}");
    }
}

/// The later of two would be taken for both.
#[test]
fn no_two_types_share_a_name_in_the_document() {
    fn files(directory: &Path) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let code = fs::read_to_string(&file).unwrap();
        for declared in code.split("ToSchema)]").skip(1) {
            let (at, keyword) = ["struct ", "enum "]
                .into_iter()
                .filter_map(|keyword| declared.find(keyword).map(|at| (at, keyword)))
                .min()
                .unwrap();
            let (attributes, item) = declared.split_at(at);
            let renamed = attributes.split_once("#[schema(as = ").map(|(_, name)| name);
            let name = renamed.unwrap_or_else(|| item.strip_prefix(keyword).unwrap());
            let name: String = name
                .chars()
                .take_while(|letter| letter.is_alphanumeric() || "$_".contains(*letter))
                .collect();
            let place = file.display().to_string();
            if let Some(other) = named.insert(name.clone(), place.clone()).filter(|_| !name.starts_with('$'))
            {
                panic!("two types are called {name} in /openapi.json, in {other} and {place}: rename one");
            }
        }
    }
    assert!(named.len() > 50);
}

/// The bounds of a number, where the schema of a field has some.
fn bounds(schema: &Value) -> Option<[Value; 2]> {
    let forms = schema["oneOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
    forms.iter().find_map(|form| Some([form.get("minimum")?.clone(), form.get("maximum")?.clone()]))
}

/// The next number outside of a bound.
fn beyond(bound: &Value, by: i64) -> Value {
    let whole = bound.as_i64().map(i128::from).or_else(|| bound.as_u64().map(i128::from)).unwrap();
    let next = whole + i128::from(by);
    i64::try_from(next).map(Value::from).or_else(|_| u64::try_from(next).map(Value::from)).unwrap_or_else(
        |_| {
            // What no integer of 64 bits holds.
            json!(if by > 0 { 1e30 } else { -1e30 })
        },
    )
}

#[tokio::test]
async fn the_parser_takes_every_number_that_its_schema_allows_and_no_other() {
    let stage = Stage::new();
    let document = document(&stage).await;
    let mut checked = BTreeSet::new();
    for (path, schema, base) in [
        ("/ask", "AskFields", json!({"query": "a"})),
        (
            "/v1/chat/completions",
            "ChatCompletionRequest",
            json!({"messages": [{"role": "user", "content": "a"}], "stream": true}),
        ),
        ("/v1/completions", "CompletionRequest", json!({"prompt": "a", "stream": true})),
        ("/v1/responses", "ResponseRequest", json!({"input": "a", "stream": true})),
    ] {
        let fields = document["components"]["schemas"][schema]["properties"].as_object().unwrap();
        for (name, schema) in fields {
            let Some([least, most]) = bounds(schema) else { continue };
            for (value, allowed) in [
                (beyond(&least, -1), false),
                (least.clone(), true),
                (most.clone(), true),
                (beyond(&most, 1), false),
            ] {
                let mut body = base.clone();
                body[name] = value.clone();
                let key = GenerationId::fresh().to_string();
                let headers = [JSON, ("idempotency-key", &*key)];
                let response = stage.call(Method::POST, path, &headers, body.to_string()).await;
                assert_eq!(response.status() == StatusCode::OK, allowed, "{path} {name} = {value}");
                if !allowed {
                    let refusal: Value = serde_json::from_str(&text(response).await).unwrap();
                    let message = refusal["error"]["message"].as_str().unwrap();
                    assert!(message.starts_with(&format!("{name} must be ")), "{message}");
                }
            }
            checked.insert(format!("{path} {name}"));
        }
    }
    assert!(checked.len() > 15, "{checked:?}");
}
