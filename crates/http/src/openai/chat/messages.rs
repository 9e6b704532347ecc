//! The messages of a chat completion. Only text is supported. Other content is refused by name, or ignored if models never
//! read it.
//!
//! `developer` is the newer name of `system`. Several text parts become one text, a line each, as in vLLM and llama.cpp. An
//! answer that a client sends back may have `reasoning_content` and `annotations`, which models do not get again.

use serde::Deserialize;
use serde_json::Value;
use tokenwire_core::{Conversation, Message, ToolCall};
use utoipa::ToSchema;

use crate::{
    front::{
        fields::text_or_list,
        json::{TextOr, read_at, tag_at},
        problem::Problem,
    },
    openai::parameters::FunctionType,
};

/// One message of the conversation.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "a message is read as the type that its role says")]
pub(super) enum ChatMessage {
    Instructions(ChatInstructions),
    User(ChatUserMessage),
    Assistant(ChatAssistantMessage),
    Tool(ChatToolMessage),
}

/// Instructions for the model. `developer` is the newer name of `system`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatInstructions {
    #[serde(rename = "role")]
    _role: ChatInstructionsRole,
    content: ChatContent,
}

/// A message of the user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatUserMessage {
    #[serde(rename = "role")]
    _role: ChatUserRole,
    content: ChatContent,
}

/// A message of the model: a content, a refusal instead, or tool calls.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatAssistantMessage {
    #[serde(rename = "role")]
    _role: ChatAssistantRole,
    content: Option<ChatContent>,
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Vec<ChatToolCall>,
    /// Ignored: models do not get their reasoning again.
    #[serde(rename = "reasoning_content")]
    _reasoning_content: Option<Value>,
    /// Left out.
    #[serde(rename = "reasoning")]
    _reasoning: Option<Value>,
    /// Left out.
    #[serde(rename = "reasoning_details")]
    _reasoning_details: Option<Value>,
    /// Left out.
    #[serde(rename = "annotations")]
    _annotations: Option<Value>,
}

/// The result of a tool call.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatToolMessage {
    #[serde(rename = "role")]
    _role: ChatToolRole,
    /// The call it belongs to.
    tool_call_id: String,
    content: ChatContent,
    /// Ignored: the id identifies the tool.
    #[serde(rename = "name")]
    _name: Option<Value>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ChatInstructionsRole {
    System,
    Developer,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ChatUserRole {
    User,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ChatAssistantRole {
    Assistant,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ChatToolRole {
    Tool,
}

text_or_list!(
    /// A text, or text parts, which become one text, a line each.
    ChatContent,
    ChatPart
);

/// A part of a message. The models here read only text. Several parts become one text, a line each.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "a part is read as the type that its `type` says")]
pub(super) enum ChatPart {
    Text(ChatTextPart),
    Refusal(ChatRefusalPart),
}

#[derive(Deserialize, ToSchema)]
pub(super) struct ChatTextPart {
    #[serde(rename = "type")]
    _type: ChatTextType,
    text: String,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct ChatRefusalPart {
    #[serde(rename = "type")]
    _type: ChatRefusalType,
    refusal: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ChatTextType {
    Text,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ChatRefusalType {
    Refusal,
}

/// A call that the model made.
#[derive(Deserialize, ToSchema)]
struct ChatToolCall {
    id: String,
    #[serde(rename = "type")]
    _type: Option<FunctionType>,
    function: ChatCalledFunction,
}

/// The called function.
#[derive(Deserialize, ToSchema)]
struct ChatCalledFunction {
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

pub(super) fn conversation(messages: &[Value]) -> Result<Conversation, Problem> {
    let messages =
        messages.iter().enumerate().map(|(index, said)| message(&format!("messages[{index}]"), said));
    let messages = messages.collect::<Result<_, _>>()?;
    Conversation::new(messages).map_err(|error| Problem::invalid_field("messages", error))
}

fn message(place: &str, said: &Value) -> Result<Message, Problem> {
    let content = |content| text(&format!("{place}.content"), content);
    let wrong_role = |what| Err(Problem::invalid_field(format!("{place}.role"), what));
    match tag_at(place, said, "role")? {
        Some("system" | "developer") => {
            let said: ChatInstructions = read_at(place, said)?;
            Ok(Message::System { content: content(said.content)? })
        }
        Some("user") => {
            let said: ChatUserMessage = read_at(place, said)?;
            Ok(Message::User { content: content(said.content)? })
        }
        Some("assistant") => {
            let said: ChatAssistantMessage = read_at(place, said)?;
            let tool_calls = said.tool_calls.into_iter().map(|ChatToolCall { id, function, .. }| {
                let ChatCalledFunction { name, arguments } = function;
                ToolCall { id, name, arguments }
            });
            let tool_calls: Vec<_> = tool_calls.collect();
            let content = match (said.content, said.refusal) {
                (Some(said), _) => content(said)?,
                (None, Some(refusal)) => refusal,
                (None, None) if !tool_calls.is_empty() => String::new(),
                (None, None) => {
                    let what = "is missing: send a content, a refusal or tool_calls";
                    return Err(Problem::invalid_field(format!("{place}.content"), what));
                }
            };
            Ok(Message::Assistant { content, tool_calls })
        }
        Some("tool") => {
            let said: ChatToolMessage = read_at(place, said)?;
            Ok(Message::Tool { tool_call_id: said.tool_call_id, content: content(said.content)? })
        }
        Some("function") => wrong_role("function is not taken: use tool, with a tool_call_id"),
        Some(_) | None => wrong_role("must be system, developer, user, assistant or tool"),
    }
}

/// A text, or text parts, a line each.
fn text(place: &str, ChatContent(content): ChatContent) -> Result<String, Problem> {
    let parts = match content {
        TextOr::Text(text) => return Ok(text),
        TextOr::List(parts) if parts.is_empty() => {
            return Err(Problem::invalid_field(place, "has no part: send a text"));
        }
        TextOr::List(parts) => parts,
    };
    let texts = parts.iter().enumerate().map(|(index, part)| {
        let place = format!("{place}[{index}]");
        let wrong_type = |what| Err(Problem::invalid_field(format!("{place}.type"), what));
        match tag_at(&place, part, "type")? {
            Some("text") => read_at(&place, part).map(|ChatTextPart { text, .. }| text),
            Some("refusal") => read_at(&place, part).map(|ChatRefusalPart { refusal, .. }| refusal),
            Some("image_url" | "input_audio" | "file") => {
                wrong_type("is not taken: the models here read text alone")
            }
            Some(_) => wrong_type("must be text"),
            None => wrong_type("is missing"),
        }
    });
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(messages: &Value) -> Result<Conversation, Problem> {
        conversation(messages.as_array().unwrap())
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
