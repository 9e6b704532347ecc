//! The requests of the load.

use testkit::client::Request;
use tokenwire_core::GenerationId;

use crate::plan::QUERY;

/// Starts a stream, and reads it.
pub(super) fn ask(id: GenerationId) -> Vec<u8> {
    Request::post("/ask", serde_json::json!({ "query": QUERY, "uuid": id.to_string() })).to_bytes()
}

/// Starts a stream without reading it, so that the connection can be used again.
pub(super) fn submit() -> Vec<u8> {
    Request::post("/v1/responses", serde_json::json!({ "input": QUERY, "background": true })).to_bytes()
}

/// Looks up what was submitted.
pub(super) fn look_up(id: &str) -> Vec<u8> {
    Request::get(&format!("/v1/responses/{id}")).to_bytes()
}

/// Reads a stream after an entry.
pub(super) fn follow(id: GenerationId, after: u64) -> Vec<u8> {
    Request::get(&format!("/ask/{id}")).after(after).to_bytes()
}
