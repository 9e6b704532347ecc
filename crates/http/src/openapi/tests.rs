//! What is described is what is there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use utoipa::ToSchema;

use super::{assembly::template, *};

/// Paths that are no operations: whatever is not there below `/v1`, and what only operators reach.
const UNDESCRIBED: [&str; 4] = ["/v1", "/v1/", "/v1/{*rest}", "/metrics"];

/// The names of all fields that a value of this type may have, whichever of its forms it has.
pub(crate) fn properties<T: ToSchema>() -> BTreeSet<String> {
    let mut schemas = vec![(T::name().to_string(), T::schema())];
    T::schemas(&mut schemas);
    let schemas: BTreeMap<_, _> =
        schemas.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap())).collect();
    let mut names = BTreeSet::new();
    let mut inside = vec![&schemas[&*T::name()]];
    while let Some(schema) = inside.pop() {
        if let Some(name) = schema["$ref"].as_str().and_then(|place| place.rsplit('/').next()) {
            inside.push(&schemas[name]);
        }
        for parts in ["allOf", "oneOf"].map(|parts| schema[parts].as_array()) {
            inside.extend(parts.into_iter().flatten());
        }
        names.extend(schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys().cloned()));
    }
    names
}

#[test]
fn every_path_of_the_server_is_described_and_no_other() {
    let code = include_str!("../paths.rs").lines().filter(|line| !line.trim_start().starts_with("//"));
    let paths: BTreeSet<_> = code
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|literal| literal.starts_with('/') && !UNDESCRIBED.contains(literal))
        .map(template)
        .collect();
    let described: BTreeSet<_> = described().paths.paths.keys().cloned().collect();
    assert_eq!(described, paths);
}

#[test]
fn no_two_types_share_a_name() {
    let mut all = BTreeMap::new();
    for (name, schema) in operations().into_iter().flat_map(|operation| operation.into_parts().1.into_named())
    {
        let schema = serde_json::to_value(&schema).unwrap();
        let known = all.entry(name.clone()).or_insert_with(|| schema.clone());
        assert_eq!(
            *known, schema,
            "two types are called {name}: name one otherwise with #[schema(as = ...)]"
        );
    }
}

#[test]
fn the_reference_in_the_docs_is_the_one_that_is_made_of_the_document() {
    let stored = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md"));
    assert!(stored == reference(), "docs/api.md is stale: write it anew with `tokenwire openapi docs`");
}

#[test]
fn every_reference_leads_somewhere() {
    let document = serde_json::to_value(described()).unwrap();
    let mut found = 0;
    let mut inside = vec![&document];
    while let Some(value) = inside.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(place) = fields.get("$ref").and_then(Value::as_str) {
                    assert!(document.pointer(place.trim_start_matches('#')).is_some(), "{place}");
                    found += 1;
                }
                inside.extend(fields.values());
            }
            Value::Array(items) => inside.extend(items),
            _ => {}
        }
    }
    assert!(found > 10);
}
