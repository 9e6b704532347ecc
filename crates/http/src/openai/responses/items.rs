//! The input of a response: items to messages. An item that no model here can read is refused, with its place.
//!
//! Reasoning that a client sends back is accepted and not shown to the model, as in chat completions. Items are stored in the
//! form in which they were understood, so that the list of input items shows exactly what the model was asked.

use serde::Deserialize;
use serde_json::{Value, json};
use tokenwire_core::{Message, ToolCall};
use utoipa::ToSchema;

use super::compaction;
use crate::front::{
    fields::text_or_list,
    json::{TextOr, read_at, tag_at},
    problem::Problem,
};

/// One item of an input. Its `id` and `status` are ignored.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "an item is read as the type that its `type` says")]
pub(super) enum ResponseInputItem {
    Message(ResponseInputMessage),
    FunctionCall(ResponseInputCall),
    FunctionCallOutput(ResponseInputCallOutput),
    Reasoning(ResponseInputReasoning),
    ItemReference(ResponseItemReference),
    Compaction(ResponseInputCompaction),
}

/// Declares the constant `type` of an item.
macro_rules! word {
    ($name:ident, $variant:ident) => {
        #[derive(Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        enum $name {
            $variant,
        }
    };
}

word!(MessageType, Message);
word!(FunctionCallType, FunctionCall);
word!(FunctionCallOutputType, FunctionCallOutput);
word!(ReasoningType, Reasoning);
word!(ItemReferenceType, ItemReference);
word!(CompactionType, Compaction);

/// A message.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseInputMessage {
    #[serde(rename = "type")]
    _type: Option<MessageType>,
    #[serde(rename = "id")]
    _id: Option<Value>,
    #[serde(rename = "status")]
    _status: Option<Value>,
    role: ResponseRole,
    content: ResponseContent,
    /// Ignored. With newer OpenAI models it distinguishes commentary from the final answer.
    #[serde(rename = "phase")]
    _phase: Option<Value>,
}

/// The author of the message. `developer` is the newer name of `system`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ResponseRole {
    System,
    Developer,
    User,
    Assistant,
}

impl ResponseRole {
    const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A call that the model made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseInputCall {
    #[serde(rename = "type")]
    _type: FunctionCallType,
    #[serde(rename = "id")]
    _id: Option<Value>,
    #[serde(rename = "status")]
    _status: Option<Value>,
    call_id: String,
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

/// The result of a function call.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseInputCallOutput {
    #[serde(rename = "type")]
    _type: FunctionCallOutputType,
    #[serde(rename = "id")]
    _id: Option<Value>,
    #[serde(rename = "status")]
    _status: Option<Value>,
    /// The call it belongs to, which must come before it.
    call_id: String,
    output: ResponseContent,
}

/// The model's reasoning. It is not shown to the model again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseInputReasoning {
    #[serde(rename = "type")]
    _type: ReasoningType,
    #[serde(rename = "id")]
    _id: Option<Value>,
    #[serde(rename = "status")]
    _status: Option<Value>,
    #[serde(default)]
    summary: Vec<Value>,
    #[serde(default)]
    content: Vec<Value>,
    /// Left out.
    #[serde(rename = "encrypted_content")]
    _encrypted_content: Option<Value>,
}

/// The summary of a compacted conversation, unchanged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseInputCompaction {
    #[serde(rename = "type")]
    _type: CompactionType,
    #[serde(rename = "id")]
    _id: Option<Value>,
    #[serde(rename = "status")]
    _status: Option<Value>,
    #[schema(pattern = r"^tokenwire-1\.[A-Za-z0-9_-]+$")]
    encrypted_content: String,
    /// Left out.
    #[serde(rename = "created_by")]
    _created_by: Option<Value>,
}

/// An item of an earlier response, by its id.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseItemReference {
    #[serde(rename = "type")]
    _type: ItemReferenceType,
    id: String,
    #[serde(rename = "status")]
    _status: Option<Value>,
}

text_or_list!(
    /// A text, or text parts.
    ResponseContent,
    ResponseInputPart
);

text_or_list!(
    /// A text of the user, or items.
    ResponseInput,
    ResponseInputItem
);

/// A part of a content. The models here read only text. Several parts are joined to one text, a line each.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "a part is read as the type that its `type` says")]
enum ResponseInputPart {
    Text(ResponseInputText),
    Refusal(ResponseInputRefusal),
}

#[derive(Deserialize, ToSchema)]
struct ResponseInputText {
    #[serde(rename = "type")]
    _type: TextPartType,
    text: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TextPartType {
    InputText,
    OutputText,
    Text,
}

#[derive(Deserialize, ToSchema)]
struct ResponseInputRefusal {
    #[serde(rename = "type")]
    _type: RefusalPartType,
    refusal: String,
}

word!(RefusalPartType, Refusal);

/// The items of an input, in one form: a bare text becomes a message of the user.
pub(super) fn items(ResponseInput(input): ResponseInput) -> Result<Vec<Value>, Problem> {
    match input {
        TextOr::Text(text) => Ok(vec![message_item(ResponseRole::User, &[part("input_text", &text)])]),
        TextOr::List(items) => {
            let items =
                items.iter().enumerate().map(|(index, item)| understood(&format!("input[{index}]"), item));
            items.collect()
        }
    }
}

fn understood(place: &str, item: &Value) -> Result<Value, Problem> {
    match tag_at(place, item, "type")? {
        None | Some("message") => {
            let ResponseInputMessage { role, content, .. } = read_at(place, item)?;
            let form = if role == ResponseRole::Assistant { "output_text" } else { "input_text" };
            Ok(message_item(role, &parts(&format!("{place}.content"), content.0, form)?))
        }
        Some("function_call") => {
            let ResponseInputCall { call_id, name, arguments, .. } = read_at(place, item)?;
            Ok(json!({
                "type": "function_call", "status": "completed", "call_id": call_id, "name": name, "arguments": arguments,
            }))
        }
        Some("function_call_output") => {
            let ResponseInputCallOutput { call_id, output, .. } = read_at(place, item)?;
            let output = match output.0 {
                TextOr::Text(text) => Value::from(text),
                parts @ TextOr::List(_) => {
                    self::parts(&format!("{place}.output"), parts, "input_text")?.into()
                }
            };
            Ok(json!({
                "type": "function_call_output", "status": "completed", "call_id": call_id, "output": output,
            }))
        }
        Some("compaction") => {
            let ResponseInputCompaction { encrypted_content, .. } = read_at(place, item)?;
            let invalid = |what| Problem::invalid_field(format!("{place}.encrypted_content"), what);
            compaction::decode(&encrypted_content).map_err(invalid)?;
            Ok(json!({"type": "compaction", "encrypted_content": encrypted_content}))
        }
        Some("reasoning") => {
            let ResponseInputReasoning { summary, content, .. } = read_at(place, item)?;
            Ok(json!({"type": "reasoning", "status": "completed", "summary": summary, "content": content}))
        }
        // `references` replaces it before a model reads the input.
        Some("item_reference") => {
            let ResponseItemReference { id, .. } = read_at(place, item)?;
            Ok(json!({"type": "item_reference", "id": id}))
        }
        Some(_) => {
            let known = "must be message, function_call, function_call_output, reasoning, compaction or item_reference";
            Err(Problem::invalid_field(format!("{place}.type"), known))
        }
    }
}

fn message_item(role: ResponseRole, content: &[Value]) -> Value {
    json!({"type": "message", "status": "completed", "role": role.as_str(), "content": content})
}

/// A text, or text parts, as parts of this form.
fn parts(place: &str, content: TextOr<Value>, form: &str) -> Result<Vec<Value>, Problem> {
    let parts = match content {
        TextOr::Text(text) => return Ok(vec![part(form, &text)]),
        TextOr::List(parts) if parts.is_empty() => {
            return Err(Problem::invalid_field(place, "has no part: send a text"));
        }
        TextOr::List(parts) => parts,
    };
    let parts = parts.iter().enumerate().map(|(index, found)| {
        let place = format!("{place}[{index}]");
        let wrong_type = |what| Err(Problem::invalid_field(format!("{place}.type"), what));
        let text = match tag_at(&place, found, "type")? {
            Some("input_text" | "output_text" | "text") => {
                read_at(&place, found).map(|ResponseInputText { text, .. }| text)?
            }
            Some("refusal") => read_at(&place, found).map(|ResponseInputRefusal { refusal, .. }| refusal)?,
            Some("input_image" | "input_file" | "input_audio") => {
                return wrong_type("is not taken: the models here read text alone");
            }
            Some(_) => return wrong_type("must be input_text or output_text"),
            None => return wrong_type("is missing"),
        };
        Ok(part(form, &text))
    });
    parts.collect()
}

fn part(form: &str, text: &str) -> Value {
    match form {
        "output_text" => json!({"type": form, "text": text, "annotations": [], "logprobs": []}),
        _ => json!({"type": form, "text": text}),
    }
}

/// Items as messages for a model. Consecutive calls, and the text before them, become one message.
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
            // Unreadable ones were refused before.
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
