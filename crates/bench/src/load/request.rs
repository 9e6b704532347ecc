//! What readers ask.

use tokenwire_core::GenerationId;

use crate::plan::QUERY;

/// Begins a stream, and reads it.
pub(super) fn ask(id: GenerationId) -> Vec<u8> {
    post("/ask", &serde_json::json!({ "query": QUERY, "uuid": id.to_string() }).to_string())
}

/// Begins a stream, and lets others read it: one answer for each question, so that the connection can be used again.
pub(super) fn submit() -> Vec<u8> {
    post("/v1/responses", &serde_json::json!({ "input": QUERY, "background": true }).to_string())
}

/// Looks up what was submitted.
pub(super) fn look_up(id: &str) -> Vec<u8> {
    format!("GET /v1/responses/{id} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes()
}

/// Reads a stream after an entry.
pub(super) fn follow(id: GenerationId, after: u64) -> Vec<u8> {
    let cursor = if after > 0 { format!("Last-Event-ID: {after}\r\n") } else { String::new() };
    format!("GET /ask/{id} HTTP/1.1\r\nHost: bench\r\n{cursor}\r\n").into_bytes()
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
