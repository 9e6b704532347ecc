//! The resource: 31 properties, all of them always there.
//!
//! What the request left out has the value that the format gives it, also where the model's own choice is another: it
//! wants numbers there.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Value, json};
use tokenwire_core::{FinishReason, Usage};

use super::{
    id,
    response::{End, Response, State, object},
};

/// A response as a JSON object.
pub(super) struct Resource<'a>(pub(super) &'a Response);

impl Serialize for Resource<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(Response { id, created_at, metadata, output, state }) = self;
        let echo = |name: &str, otherwise: Value| metadata.echo.get(name).cloned().unwrap_or(otherwise);
        let mut map = serializer.serialize_map(Some(31))?;
        map.serialize_entry("id", &id::response(*id))?;
        map.serialize_entry("object", "response")?;
        map.serialize_entry("created_at", &(created_at.as_millis() / 1000))?;
        map.serialize_entry("completed_at", &completed_at(state))?;
        map.serialize_entry("status", status(state, metadata.background))?;
        map.serialize_entry("background", &metadata.background)?;
        map.serialize_entry("store", &metadata.store)?;
        map.serialize_entry("model", metadata.model.as_ref().map_or("unknown", |model| model.as_str()))?;
        map.serialize_entry("previous_response_id", &metadata.previous_response_id)?;
        map.serialize_entry("instructions", &metadata.instructions)?;
        map.serialize_entry("output", &output.shown())?;
        map.serialize_entry("error", &error(state))?;
        map.serialize_entry("incomplete_details", &incomplete(state))?;
        map.serialize_entry("usage", &usage(state))?;
        for (name, otherwise) in [
            ("tools", json!([])),
            ("tool_choice", json!("auto")),
            ("parallel_tool_calls", json!(true)),
            ("text", json!({"format": {"type": "text"}})),
            ("reasoning", Value::Null),
            ("temperature", json!(1.0)),
            ("top_p", json!(1.0)),
            ("presence_penalty", json!(0.0)),
            ("frequency_penalty", json!(0.0)),
            ("max_output_tokens", Value::Null),
            ("max_tool_calls", Value::Null),
            ("top_logprobs", json!(0)),
            ("truncation", json!("disabled")),
            ("service_tier", json!("default")),
            ("metadata", json!({})),
            ("safety_identifier", Value::Null),
            ("prompt_cache_key", Value::Null),
        ] {
            map.serialize_entry(name, &echo(name, otherwise))?;
        }
        map.end()
    }
}

/// Where nobody waits, being stored is one state and running another; a caller who waits sees one.
const fn status(state: &State, background: bool) -> &'static str {
    match state {
        State::Waiting if background => "queued",
        State::Waiting | State::Running => "in_progress",
        State::Ended { end: End::Finished { reason, .. }, .. } => match reason {
            FinishReason::Stop | FinishReason::ToolCalls => "completed",
            FinishReason::Length | FinishReason::ContentFilter => "incomplete",
        },
        State::Ended { end: End::Cancelled, .. } => "cancelled",
        State::Ended { end: End::Failed(_), .. } => "failed",
    }
}

fn completed_at(state: &State) -> Option<u64> {
    match state {
        State::Ended { at, end } if end.is_whole() => Some(at.as_millis() / 1000),
        State::Waiting | State::Running | State::Ended { .. } => None,
    }
}

fn error(state: &State) -> Option<Value> {
    let State::Ended { end: End::Failed(error), .. } = state else { return None };
    let mut error = object(error);
    let [code, message] =
        ["code", "message"].map(|name| error.get_mut(name).map(Value::take).unwrap_or_default());
    let code = if code.is_null() { json!("server_error") } else { code };
    Some(json!({"code": code, "message": message}))
}

fn incomplete(state: &State) -> Option<Value> {
    let State::Ended { end: End::Finished { reason, .. }, .. } = state else { return None };
    match reason {
        FinishReason::Stop | FinishReason::ToolCalls => None,
        FinishReason::Length => Some(json!({"reason": "max_output_tokens"})),
        FinishReason::ContentFilter => Some(json!({"reason": "content_filter"})),
    }
}

/// Only an end says what it cost.
fn usage(state: &State) -> Option<Value> {
    let State::Ended { end: End::Finished { usage, .. }, .. } = state else { return None };
    Some(cost(*usage))
}

/// What was cached or thought is not counted apart.
pub(super) fn cost(usage: Usage) -> Value {
    let Usage { input_tokens, output_tokens } = usage;
    json!({
        "input_tokens": input_tokens, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output_tokens, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens.saturating_add(output_tokens),
    })
}
