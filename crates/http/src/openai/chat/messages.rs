//! The messages of a chat completion. Text is all that is taken; whatever else a message says is refused by its name, or,
//! where it never reaches a model anyway, left out.
//!
//! `developer` is `system` by its newer name. Several text parts become one text, a line each, as vLLM and llama.cpp put
//! them together. What a client sends back of an answer may carry `reasoning_content` and `annotations`: models are not
//! shown those again.

use serde_json::Value;
use tokenwire_core::{Conversation, Message, ToolCall};

use crate::front::{
    json::{Fields, invalid_field, list, non_null, object_at, text, type_name, within},
    problem::Problem,
};

pub(super) fn conversation(fields: &Fields) -> Result<Conversation, Problem> {
    let messages = list(fields, "messages")?
        .ok_or_else(|| invalid_field("messages", "is missing: write what you want to ask"))?
        .iter()
        .enumerate()
        .map(|(index, said)| {
            let place = format!("messages[{index}]");
            let said = object_at(&place, said)?;
            within(format_args!("{place}."), message(said))
        });
    Conversation::new(messages.collect::<Result<_, _>>()?).map_err(|error| invalid_field("messages", error))
}

fn message(said: &Fields) -> Result<Message, Problem> {
    match text(said, "role")? {
        Some("system" | "developer") => {
            only(said, &[], &[])?;
            Ok(Message::System { content: content(said)? })
        }
        Some("user") => {
            only(said, &[], &[])?;
            Ok(Message::User { content: content(said)? })
        }
        Some("assistant") => assistant(said),
        Some("tool") => {
            // The id says which tool it was; some clients repeat its name.
            only(said, &["tool_call_id"], &["name"])?;
            let tool_call_id = required(said, "tool_call_id")?.to_owned();
            Ok(Message::Tool { tool_call_id, content: content(said)? })
        }
        Some("function") => {
            Err(invalid_field("role", "function is not taken: use tool, with a tool_call_id"))
        }
        Some(_) | None => Err(invalid_field("role", "must be system, developer, user, assistant or tool")),
    }
}

fn assistant(said: &Fields) -> Result<Message, Problem> {
    only(
        said,
        &["tool_calls", "refusal"],
        &["reasoning_content", "reasoning", "reasoning_details", "annotations"],
    )?;
    let tool_calls = list(said, "tool_calls")?.unwrap_or_default().iter().enumerate().map(|(index, call)| {
        let place = format!("tool_calls[{index}]");
        let call = object_at(&place, call)?;
        within(format_args!("{place}."), tool_call(call))
    });
    let tool_calls: Vec<_> = tool_calls.collect::<Result<_, _>>()?;
    let content = match (non_null(said, "content"), text(said, "refusal")?) {
        (Some(_), _) => content(said)?,
        (None, Some(refusal)) => refusal.to_owned(),
        (None, None) if !tool_calls.is_empty() => String::new(),
        (None, None) => return Err(invalid_field("content", "is missing")),
    };
    Ok(Message::Assistant { content, tool_calls })
}

fn tool_call(call: &Fields) -> Result<ToolCall, Problem> {
    if text(call, "type")?.is_some_and(|kind| kind != "function") {
        return Err(invalid_field("type", "must be function"));
    }
    let function = non_null(call, "function").ok_or_else(|| invalid_field("function", "is missing"))?;
    let function = object_at("function", function)?;
    Ok(ToolCall {
        id: required(call, "id")?.to_owned(),
        name: within("function.", required(function, "name"))?.to_owned(),
        arguments: within("function.", required(function, "arguments"))?.to_owned(),
    })
}

/// A text, or parts that are texts.
fn content(said: &Fields) -> Result<String, Problem> {
    match non_null(said, "content") {
        None => Err(invalid_field("content", "is missing")),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) if !parts.is_empty() => {
            let texts = parts.iter().enumerate().map(|(index, part)| {
                let place = format!("content[{index}]");
                let part = object_at(&place, part)?;
                within(format_args!("{place}."), part_text(part))
            });
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        Some(Value::Array(_)) => Err(invalid_field("content", "has no part: send a text")),
        Some(other) => {
            Err(invalid_field("content", format!("must be a text or text parts, not {}", type_name(other))))
        }
    }
}

fn part_text(part: &Fields) -> Result<&str, Problem> {
    match required(part, "type")? {
        "text" => required(part, "text"),
        "refusal" => required(part, "refusal"),
        "image_url" | "input_audio" | "file" => {
            Err(invalid_field("type", "is not taken: the models here read text alone"))
        }
        _ => Err(invalid_field("type", "must be text")),
    }
}

/// Refuses what would be lost: everything but role and content, these further fields, and those that no model is shown.
fn only(said: &Fields, taken: &[&str], left_out: &[&str]) -> Result<(), Problem> {
    for (name, value) in said {
        let known = ["role", "content"].iter().chain(taken).chain(left_out).any(|known| known == name);
        if !known && !value.is_null() {
            return Err(invalid_field(name, "is not taken here: leave it out"));
        }
    }
    Ok(())
}

fn required<'a>(fields: &'a Fields, field: &str) -> Result<&'a str, Problem> {
    text(fields, field)?.ok_or_else(|| invalid_field(field, "is missing"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(messages: &Value) -> Result<Conversation, Problem> {
        conversation(json!({ "messages": messages }).as_object().unwrap())
    }

    #[test]
    fn every_kind_of_message_is_understood() {
        let conversation = read(&json!([
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": null},
            {"role": "assistant", "content": null, "refusal": null, "audio": null, "annotations": [], "reasoning_content": "hm",
             "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "name": "look", "content": "c"},
            {"role": "assistant", "content": null, "refusal": "No."},
            {"role": "user", "content": " d "},
        ]));
        let call = ToolCall { id: "call_1".to_owned(), name: "look".to_owned(), arguments: "{}".to_owned() };
        let expected = [
            Message::system("Be brief."),
            Message::user("a\nb"),
            Message::Assistant { content: String::new(), tool_calls: vec![call] },
            Message::Tool { tool_call_id: "call_1".to_owned(), content: "c".to_owned() },
            Message::assistant("No."),
            Message::user(" d "),
        ];
        assert_eq!(conversation.unwrap().messages(), expected);
    }

    #[test]
    fn what_would_be_lost_is_refused_by_its_place() {
        let user = |content: Value| json!([{"role": "user", "content": content}]);
        let assistant = |more: Value| {
            let mut said = json!({"role": "assistant"});
            said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!([said, {"role": "user", "content": "a"}])
        };
        for (messages, field) in [
            (json!(null), "messages"),
            (json!("a"), "messages"),
            (json!([]), "messages"),
            (json!([1]), "messages[0]"),
            (json!([{"content": "a"}]), "messages[0].role"),
            (json!([{"role": "function", "name": "f", "content": "a"}]), "messages[0].role"),
            (json!([{"role": "user"}]), "messages[0].content"),
            (json!([{"role": "user", "content": "a", "name": "Ann"}]), "messages[0].name"),
            (user(json!(1)), "messages[0].content"),
            (user(json!([])), "messages[0].content"),
            (user(json!(["a"])), "messages[0].content[0]"),
            (user(json!([{"type": "text"}])), "messages[0].content[0].text"),
            (
                user(
                    json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]),
                ),
                "messages[0].content[1].type",
            ),
            (user(json!([{"type": "input_audio", "input_audio": {}}])), "messages[0].content[0].type"),
            (user(json!([{"type": "file", "file": {}}])), "messages[0].content[0].type"),
            (json!([{"role": "tool", "content": "a"}]), "messages[0].tool_call_id"),
            (assistant(json!({})), "messages[0].content"),
            (assistant(json!({"content": "a", "audio": {"id": "x"}})), "messages[0].audio"),
            (assistant(json!({"content": "a", "function_call": {"name": "x"}})), "messages[0].function_call"),
            (assistant(json!({"tool_calls": [1]})), "messages[0].tool_calls[0]"),
            (
                assistant(json!({"tool_calls": [{"id": "1", "type": "custom"}]})),
                "messages[0].tool_calls[0].type",
            ),
            (
                assistant(json!({"tool_calls": [{"id": "1", "function": {"name": "f"}}]})),
                "messages[0].tool_calls[0].function.arguments",
            ),
            (json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]), "messages"),
        ] {
            match read(&messages) {
                Err(problem) => {
                    assert_eq!(problem.field.as_deref(), Some(field));
                    assert!(problem.message.starts_with(field), "{}", problem.message);
                }
                Ok(read) => panic!("{messages}: {read:?}"),
            }
        }
    }
}
