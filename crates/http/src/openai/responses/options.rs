//! The parameters of a response, except its input. Parameters that models support go to them by the names of chat completions.
//! Those that change no answer are repeated in the resource. All others are refused by name.
//!
//! | Parameter | What becomes of it |
//! |---|---|
//! | `temperature`, `top_p`, `max_output_tokens`; ours: `top_k`, `seed`, `stop` | honoured by whatever model answers |
//! | `tools`, `tool_choice`, `parallel_tool_calls`, `text`, `reasoning.effort`, penalties | goes to the model, which does it or refuses it |
//! | `reasoning.summary` | the form in which reasoning is shown |
//! | `metadata`, `user`, `service_tier` and the like | accepted, and changes nothing |

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Map, Value, json};
use tokenwire_core::Extras;
use utoipa::{
    ToSchema,
    openapi::{
        ArrayBuilder, ObjectBuilder, OneOfBuilder,
        schema::{AdditionalProperties, Type},
    },
};

use crate::{
    front::{
        fields::{described, one_of, only},
        json::{Fields, non_null, read_at},
        problem::Problem,
    },
    openai::parameters::{self, FunctionType, NoObfuscation, ToolChoice},
};

/// Repeated in the resource if the request has them.
const ECHOED: [&str; 12] = [
    "temperature",
    "top_p",
    "max_output_tokens",
    "tool_choice",
    "parallel_tool_calls",
    "frequency_penalty",
    "presence_penalty",
    "metadata",
    "max_tool_calls",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
];

only!(
    /// No input is shortened here.
    Disabled,
    json!("disabled"),
    "must be disabled: no input is shortened here"
);

/// What else to show. Nothing is encrypted here: reasoning is plain text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Include;

const ENCRYPTED_REASONING: &str = "reasoning.encrypted_content";

impl<'de> Deserialize<'de> for Include {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let known = Vec::<Value>::deserialize(deserializer)?.iter().all(|name| name == ENCRYPTED_REASONING);
        known.then_some(Self).ok_or_else(|| Error::custom("names what is not kept here: leave it out"))
    }
}

described!(Include, "ResponseInclude", ArrayBuilder::new().items(one_of([json!(ENCRYPTED_REASONING)])));

/// Whether the model calls a tool: a word, or an object that names a function.
#[derive(Debug, Deserialize)]
pub(super) struct ResponseToolChoice(
    #[expect(dead_code, reason = "checked, and handed on as it was written")] ToolChoice,
);

described!(ResponseToolChoice, "ResponseToolChoice", {
    let named = ObjectBuilder::new()
        .property("type", one_of([json!("function")]))
        .property("name", ObjectBuilder::new().schema_type(Type::String));
    OneOfBuilder::new()
        .item(one_of(["none", "auto", "required"].map(|word| json!(word))))
        .item(named.required("type").required("name"))
});

/// A function that the model may call. Other tools are not run here.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseTool {
    r#type: ResponseFunctionType,
    name: String,
    /// What it does, for the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// A JSON Schema of its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// Only functions.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ResponseFunctionType {
    Function,
}

impl<'de> Deserialize<'de> for ResponseFunctionType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let is_function = String::deserialize(deserializer)? == "function";
        is_function
            .then_some(Self::Function)
            .ok_or_else(|| Error::custom("must be function: other tools are not run here"))
    }
}

/// This function and no other.
#[derive(Deserialize)]
struct NamedTool {
    #[serde(rename = "type")]
    _type: FunctionType,
    name: String,
}

/// The form of an answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseText {
    #[serde(rename = "format")]
    #[schema(inline)]
    _format: Option<ResponseFormat>,
    /// How much to say.
    #[serde(rename = "verbosity")]
    _verbosity: Option<String>,
}

/// Text, any JSON, or JSON that fits a schema. It goes to the model.
#[derive(Deserialize, ToSchema)]
struct ResponseFormat {
    /// `json_schema` without a name and a schema asks for any JSON.
    #[serde(rename = "type")]
    _type: ResponseFormatType,
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(rename = "schema")]
    _schema: Option<Map<String, Value>>,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ResponseFormatType {
    Text,
    JsonObject,
    JsonSchema,
}

/// How the model reasons before it answers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseReasoning {
    /// How long.
    effort: Option<String>,
    /// With any of these, the model's reasoning is shown as a `summary`, all of it; without, as `content`.
    summary: Option<ReasoningSummary>,
    /// The older name of `summary`.
    generate_summary: Option<ReasoningSummary>,
}

/// The server writes no summaries: all values mean the same.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ReasoningSummary {
    Auto,
    Concise,
    Detailed,
}

impl<'de> Deserialize<'de> for ReasoningSummary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)?.as_str() {
            Some("auto") => Ok(Self::Auto),
            Some("concise") => Ok(Self::Concise),
            Some("detailed") => Ok(Self::Detailed),
            _ => {
                Err(Error::custom("must be auto, concise or detailed; for reasoning as a text leave it out"))
            }
        }
    }
}

/// Options of streams. None changes anything here.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseStreamOptions {
    #[serde(rename = "include_obfuscation")]
    #[schema(inline)]
    _include_obfuscation: Option<NoObfuscation>,
}

/// At most 16 texts by name.
#[derive(Clone, Debug)]
pub(super) struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts: Option<BTreeMap<String, Value>> = Option::deserialize(deserializer)?;
        let texts = texts.unwrap_or_default();
        let fits = texts.len() <= 16 && texts.values().all(Value::is_string);
        fits.then_some(Self).ok_or_else(|| Error::custom("must be at most 16 texts by their names"))
    }
}

described!(
    Metadata,
    "ResponseMetadata",
    ObjectBuilder::new().schema_type(Type::Object).max_properties(Some(16)).additional_properties(Some(
        AdditionalProperties::from(ObjectBuilder::new().schema_type(Type::String))
    ))
);

/// What goes to the model, and the fields of the resource that repeat the request.
pub(super) fn handed_on(
    fields: &Fields,
    tools: &[ResponseTool],
    text: Option<&ResponseText>,
    reasoning: Option<&ResponseReasoning>,
) -> Result<(Extras, Map<String, Value>), Problem> {
    let mut chat = Map::new();
    let mut echo = Map::new();
    for name in ECHOED {
        echo.extend(non_null(fields, name).map(|value| (name.to_owned(), value.clone())));
    }
    for name in ["frequency_penalty", "presence_penalty", "parallel_tool_calls"] {
        chat.extend(non_null(fields, name).map(|value| (name.to_owned(), value.clone())));
    }
    if !tools.is_empty() {
        let functions = tools.iter().map(|tool| {
            let mut function = json!(tool);
            function.as_object_mut().map(|function| function.remove("type"));
            json!({"type": "function", "function": function})
        });
        chat.insert("tools".to_owned(), functions.collect());
        let shown = tools.iter().map(|ResponseTool { name, description, parameters, strict, .. }| {
            json!({
                "type": "function", "name": name, "description": description, "parameters": parameters, "strict": strict,
            })
        });
        echo.insert("tools".to_owned(), shown.collect());
    }
    if let Some(choice) = non_null(fields, "tool_choice") {
        let choice = if choice.is_object() {
            let NamedTool { name, .. } = read_at("tool_choice", choice)?;
            json!({"type": "function", "function": {"name": name}})
        } else {
            choice.clone()
        };
        chat.insert("tool_choice".to_owned(), choice);
    }
    if text.is_some() {
        let mut shown = fields.get("text").and_then(Value::as_object).cloned().unwrap_or_default();
        shown.retain(|_, value| !value.is_null());
        chat.extend(shown.get("verbosity").map(|verbosity| ("verbosity".to_owned(), verbosity.clone())));
        if let Some(format) = shown.get("format").and_then(Value::as_object) {
            chat.insert("response_format".to_owned(), chat_format(format)?);
        }
        shown.entry("format").or_insert_with(|| json!({"type": "text"}));
        echo.insert("text".to_owned(), shown.into());
    }
    if let Some(ResponseReasoning { effort, summary, generate_summary }) = reasoning {
        chat.extend(effort.as_ref().map(|effort| ("reasoning_effort".to_owned(), json!(effort))));
        let summary = summary.or(*generate_summary);
        echo.insert("reasoning".to_owned(), json!({"effort": effort, "summary": summary}));
    }
    Ok((parameters::extras(chat)?, echo))
}

/// A schema is an object inside in chat completions. One without a name and a schema asks for any JSON: some clients write it
/// so.
fn chat_format(format: &Fields) -> Result<Value, Problem> {
    if format.get("type").is_none_or(|r#type| r#type != "json_schema") {
        return Ok(Value::Object(format.clone()));
    }
    let [name, schema] = ["name", "schema"].map(|field| non_null(format, field));
    match (name, schema) {
        (None, None) => Ok(json!({"type": "json_object"})),
        (Some(_), Some(_)) => {
            let mut schema = format.clone();
            schema.retain(|name, value| name != "type" && !value.is_null());
            Ok(json!({"type": "json_schema", "json_schema": schema}))
        }
        (None, _) => Err(Problem::invalid_field("text.format.name", "is missing")),
        (_, None) => Err(Problem::invalid_field("text.format.schema", "is missing")),
    }
}
