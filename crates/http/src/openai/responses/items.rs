//! The input of a response: items to messages. An item that no model here could be shown is refused by its place.
//!
//! Reasoning that a client sends back is taken and not shown to the model again, as in chat completions. Items are kept as
//! they are understood, so that the list of inputs says what was asked and nothing else.

use serde_json::{Value, json};
use tokenwire_core::{Message, ToolCall};

use super::compaction;
use crate::front::{
    json::{Fields, invalid_field, list, non_null, object_at, text, type_name, within},
    problem::Problem,
};

/// The items of an input, in one form: a text is a message of the user.
pub(super) fn input(fields: &Fields) -> Result<Vec<Value>, Problem> {
    match non_null(fields, "input") {
        None => Err(invalid_field("input", "is missing: write what you want to ask")),
        Some(Value::String(text)) => Ok(vec![message_item("user", &[part("input_text", text)])]),
        Some(Value::Array(items)) => {
            let items = items.iter().enumerate().map(|(index, item)| {
                let place = format!("input[{index}]");
                let fields = object_at(&place, item)?;
                within(format_args!("{place}."), understood(fields))
            });
            items.collect()
        }
        Some(other) => {
            Err(invalid_field("input", format!("must be a text or a list, not {}", type_name(other))))
        }
    }
}

fn understood(item: &Fields) -> Result<Value, Problem> {
    match text(item, "type")? {
        None | Some("message") => message(item),
        Some("function_call") => {
            only(item, &["call_id", "name", "arguments"], &[])?;
            let [call_id, name, arguments] =
                [required(item, "call_id")?, required(item, "name")?, required(item, "arguments")?];
            Ok(
                json!({"type": "function_call", "status": "completed", "call_id": call_id, "name": name, "arguments": arguments}),
            )
        }
        Some("function_call_output") => {
            only(item, &["call_id", "output"], &[])?;
            let output = match non_null(item, "output") {
                Some(Value::String(text)) => Value::from(text.as_str()),
                _ => parts(item, "output", "input_text")?.into(),
            };
            let call_id = required(item, "call_id")?;
            Ok(
                json!({"type": "function_call_output", "status": "completed", "call_id": call_id, "output": output}),
            )
        }
        Some("compaction") => {
            only(item, &["encrypted_content"], &["created_by"])?;
            let content = required(item, "encrypted_content")?;
            compaction::decode(content).map_err(|what| invalid_field("encrypted_content", what))?;
            Ok(json!({"type": "compaction", "encrypted_content": content}))
        }
        Some("reasoning") => {
            only(item, &["summary", "content"], &["encrypted_content"])?;
            let [summary, content] = ["summary", "content"].map(|field| list(item, field));
            let (summary, content) = (summary?.unwrap_or_default(), content?.unwrap_or_default());
            Ok(json!({"type": "reasoning", "status": "completed", "summary": summary, "content": content}))
        }
        // Resolved before it is shown to a model: see `references`.
        Some("item_reference") => {
            only(item, &[], &[])?;
            Ok(json!({"type": "item_reference", "id": required(item, "id")?}))
        }
        Some(_) => {
            let known = "must be message, function_call, function_call_output, reasoning, compaction or item_reference";
            Err(invalid_field("type", known))
        }
    }
}

fn message(item: &Fields) -> Result<Value, Problem> {
    let role = required(item, "role")?;
    // Newer models of OpenAI mark what is a comment on the way and what the answer.
    only(item, &["role", "content"], &["phase"])?;
    let kind = match role {
        "user" | "system" | "developer" => "input_text",
        "assistant" => "output_text",
        _ => return Err(invalid_field("role", "must be system, developer, user or assistant")),
    };
    Ok(message_item(role, &parts(item, "content", kind)?))
}

fn message_item(role: &str, content: &[Value]) -> Value {
    json!({"type": "message", "status": "completed", "role": role, "content": content})
}

/// A text, or parts that are texts, as parts of this kind.
fn parts(fields: &Fields, field: &str, form: &str) -> Result<Vec<Value>, Problem> {
    match non_null(fields, field) {
        None => Err(invalid_field(field, "is missing")),
        Some(Value::String(text)) => Ok(vec![part(form, text)]),
        Some(Value::Array(parts)) if !parts.is_empty() => {
            let parts = parts.iter().enumerate().map(|(index, found)| {
                let place = format!("{field}[{index}]");
                let found = object_at(&place, found)?;
                within(format_args!("{place}."), part_text(found)).map(|text| part(form, text))
            });
            parts.collect()
        }
        Some(Value::Array(_)) => Err(invalid_field(field, "has no part: send a text")),
        Some(other) => {
            Err(invalid_field(field, format!("must be a text or text parts, not {}", type_name(other))))
        }
    }
}

fn part(form: &str, text: &str) -> Value {
    match form {
        "output_text" => json!({"type": form, "text": text, "annotations": [], "logprobs": []}),
        _ => json!({"type": form, "text": text}),
    }
}

fn part_text(part: &Fields) -> Result<&str, Problem> {
    match required(part, "type")? {
        "input_text" | "output_text" | "text" => required(part, "text"),
        "refusal" => required(part, "refusal"),
        "input_image" | "input_file" | "input_audio" => {
            Err(invalid_field("type", "is not taken: the models here read text alone"))
        }
        _ => Err(invalid_field("type", "must be input_text or output_text")),
    }
}

/// What items say to a model. Calls that follow one another, or what was said with them, are one message.
pub(super) fn messages<'a>(items: impl IntoIterator<Item = &'a Value>) -> Vec<Message> {
    let mut messages = Vec::new();
    for item in items {
        let say = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        match item.get("type").and_then(Value::as_str) {
            Some("message") => {
                let content = joined(item.get("content"));
                messages.push(match item.get("role").and_then(Value::as_str) {
                    Some("assistant") => Message::assistant(content),
                    Some("system" | "developer") => Message::system(content),
                    _ => Message::user(content),
                });
            }
            Some("function_call") => {
                let call = ToolCall { id: say("call_id"), name: say("name"), arguments: say("arguments") };
                match messages.last_mut() {
                    Some(Message::Assistant { tool_calls, .. }) => tool_calls.push(call),
                    _ => messages.push(Message::Assistant { content: String::new(), tool_calls: vec![call] }),
                }
            }
            Some("function_call_output") => {
                let content = joined(item.get("output"));
                messages.push(Message::Tool { tool_call_id: say("call_id"), content });
            }
            // Only what can be read was taken.
            Some("compaction") => {
                let summary = compaction::decode(&say("encrypted_content"));
                messages.extend(summary.map(|summary| compaction::message(&summary)));
            }
            // Reasoning.
            _ => {}
        }
    }
    messages
}

/// Several text parts are one text, a line each.
fn joined(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// Refuses what would be lost: everything but these fields, what every item has, and what no model is shown.
fn only(item: &Fields, taken: &[&str], left_out: &[&str]) -> Result<(), Problem> {
    for (name, value) in item {
        let known = ["type", "id", "status"].iter().chain(taken).chain(left_out).any(|known| known == name);
        if !known && !value.is_null() {
            return Err(invalid_field(name, "is not taken here: leave it out"));
        }
    }
    Ok(())
}

fn required<'a>(fields: &'a Fields, field: &str) -> Result<&'a str, Problem> {
    text(fields, field)?.ok_or_else(|| invalid_field(field, "is missing"))
}
