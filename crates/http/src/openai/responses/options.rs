//! The parameters of a response beside its input. What the models know goes to them by the names of chat completions; what
//! changes no answer is repeated in the resource; all else is refused by its name.
//!
//! | Parameter | What becomes of it |
//! |---|---|
//! | `temperature`, `top_p`, `max_output_tokens`; ours: `top_k`, `seed`, `stop` | honoured by whatever model answers |
//! | `tools`, `tool_choice`, `parallel_tool_calls`, `text`, `reasoning.effort`, penalties | goes to the model, which does it or refuses it |
//! | `reasoning.summary` | the form in which reasoning is told |
//! | `metadata`, `user`, `service_tier` and the like | accepted, and changes nothing |

use serde_json::{Map, Value, json};
use tokenwire_core::{Extras, Sampling};

use crate::{
    front::json::{self, Fields, boolean, count, invalid_field, list, non_null, object_at, text, within},
    front::problem::Problem,
    openai::parameters,
};

/// Read in [`super::request`].
const OWN: [&str; 7] =
    ["model", "input", "instructions", "stream", "background", "store", "previous_response_id"];

/// Read here.
const OPTIONS: [&str; 13] = [
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "stop",
    "max_output_tokens",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "frequency_penalty",
    "presence_penalty",
];

/// They say who asks, how it is billed, or limit what is not here (`max_tool_calls` counts OpenAI's own tools).
const IGNORED_PARAMS: [&str; 7] = [
    "metadata",
    "max_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
];

/// What they may say is fixed, or is checked in [`check`].
const FIXED: [&str; 4] = ["truncation", "top_logprobs", "include", "stream_options"];

/// Every parameter that may be given.
#[cfg(test)]
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    OWN.into_iter().chain(OPTIONS).chain(IGNORED_PARAMS).chain(FIXED)
}

/// What a request says beside its input.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) sampling: Sampling,
    pub(super) extras: Extras,
    /// Fields of the resource that repeat them.
    pub(super) echo: Map<String, Value>,
}

pub(super) fn read(fields: &Fields) -> Result<Options, Problem> {
    check(fields)?;
    let mut chat = Map::new();
    let mut echo = Map::new();
    for (name, value) in fields {
        let repeated =
            !matches!(name.as_str(), "user" | "top_k" | "seed" | "stop" | "prompt_cache_retention");
        if repeated && OPTIONS.iter().chain(&IGNORED_PARAMS).any(|known| known == name) && !value.is_null() {
            echo.insert(name.clone(), value.clone());
        }
    }
    tools(fields, &mut chat, &mut echo)?;
    formats(fields, &mut chat, &mut echo)?;
    reasoning(fields, &mut chat, &mut echo)?;
    for name in ["frequency_penalty", "presence_penalty", "parallel_tool_calls"] {
        chat.extend(non_null(fields, name).map(|value| (name.to_owned(), value.clone())));
    }
    let max_tokens = count(fields, "max_output_tokens")?;
    let sampling = Sampling { max_tokens, ..json::sampling(fields)? };
    Ok(Options { sampling, extras: parameters::extras(chat)?, echo })
}

/// Refuses what is not understood and would change the answer.
fn check(fields: &Fields) -> Result<(), Problem> {
    for (name, value) in fields {
        if value.is_null() || OWN.iter().chain(&OPTIONS).chain(&IGNORED_PARAMS).any(|known| known == name) {
            continue;
        }
        let fits = match name.as_str() {
            _ if !FIXED.contains(&name.as_str()) => false,
            "truncation" => value == "disabled",
            "top_logprobs" => value.as_u64() == Some(0),
            // Nothing is encrypted here: what a model tells of its reasoning is in the plain.
            "include" => list(fields, name)?
                .is_some_and(|all| all.iter().all(|one| one == "reasoning.encrypted_content")),
            "stream_options" => {
                within("stream_options.", stream_options(object_at(name, value)?)).map(|()| true)?
            }
            _ => false,
        };
        if !fits {
            return Err(invalid_field(name, what_instead(name)));
        }
    }
    count(fields, "max_tool_calls")?;
    for name in ["prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "user"] {
        text(fields, name)?;
    }
    if let Some(metadata) = non_null(fields, "metadata") {
        let metadata = object_at("metadata", metadata)?;
        if metadata.len() > 16 || !metadata.values().all(Value::is_string) {
            return Err(invalid_field("metadata", "must be at most 16 texts by their names"));
        }
    }
    Ok(())
}

fn what_instead(name: &str) -> &'static str {
    match name {
        "conversation" => "is not taken: conversations are not kept here, send previous_response_id",
        "prompt" => "is not taken: no templates are kept here, send instructions and input",
        "truncation" => "must be disabled: no input is shortened here",
        "top_logprobs" => "is not taken: answers are kept without probabilities",
        "include" => "names what is not kept here: leave it out",
        "max_tokens" | "max_completion_tokens" => "is not taken: use max_output_tokens",
        "messages" => "is not taken: use input",
        "response_format" => "is not taken: use text.format",
        "reasoning_effort" => "is not taken: use reasoning.effort",
        _ => "is not known here: leave it out",
    }
}

fn stream_options(options: &Fields) -> Result<(), Problem> {
    for (name, value) in options {
        match name.as_str() {
            _ if value.is_null() => {}
            "include_obfuscation" if boolean(options, name)? == Some(false) => {}
            "include_obfuscation" => {
                return Err(invalid_field(name, "is not done here: leave it out, or send false"));
            }
            _ => return Err(invalid_field(name, "is not known here: leave it out")),
        }
    }
    Ok(())
}

/// Functions, in the form of chat completions, where they are an object inside.
fn tools(fields: &Fields, chat: &mut Fields, echo: &mut Fields) -> Result<(), Problem> {
    let mut shown = Vec::new();
    let mut given_on = Vec::new();
    for (index, tool) in list(fields, "tools")?.unwrap_or_default().iter().enumerate() {
        let place = format!("tools[{index}]");
        let tool = object_at(&place, tool)?;
        let function = within(format_args!("{place}."), function(tool))?;
        given_on.push(json!({"type": "function", "function": function}));
        let field = |name| tool.get(name).unwrap_or(&Value::Null);
        shown.push(json!({
            "type": "function", "name": field("name"), "description": field("description"),
            "parameters": field("parameters"), "strict": field("strict"),
        }));
    }
    if !shown.is_empty() {
        chat.insert("tools".to_owned(), given_on.into());
        echo.insert("tools".to_owned(), shown.into());
    }
    let choice = match non_null(fields, "tool_choice") {
        None => return Ok(()),
        Some(Value::Object(choice)) => {
            if text(choice, "type")? != Some("function") {
                return Err(invalid_field("tool_choice.type", "must be function"));
            }
            let name = within("tool_choice.", text(choice, "name"))?;
            let name = name.ok_or_else(|| invalid_field("tool_choice.name", "is missing"))?;
            json!({"type": "function", "function": {"name": name}})
        }
        Some(choice) => choice.clone(),
    };
    chat.insert("tool_choice".to_owned(), choice);
    Ok(())
}

fn function(tool: &Fields) -> Result<Fields, Problem> {
    if text(tool, "type")? != Some("function") {
        return Err(invalid_field("type", "must be function: other tools are not run here"));
    }
    text(tool, "name")?.ok_or_else(|| invalid_field("name", "is missing"))?;
    text(tool, "description")?;
    boolean(tool, "strict")?;
    let mut function = Map::new();
    for (name, value) in tool {
        match name.as_str() {
            "type" => {}
            _ if value.is_null() => {}
            "name" | "description" | "parameters" | "strict" => {
                function.insert(name.clone(), value.clone());
            }
            _ => return Err(invalid_field(name, "is not known here: leave it out")),
        }
    }
    Ok(function)
}

/// `text.format` and `text.verbosity`.
fn formats(fields: &Fields, chat: &mut Fields, echo: &mut Fields) -> Result<(), Problem> {
    let Some(wanted) = non_null(fields, "text") else { return Ok(()) };
    let wanted = object_at("text", wanted)?;
    for (name, value) in wanted {
        match name.as_str() {
            _ if value.is_null() => {}
            "verbosity" => {
                within("text.", text(wanted, name))?;
                chat.insert(name.clone(), value.clone());
            }
            "format" => {
                let format = within("text.", object_at(name, value))?;
                chat.insert("response_format".to_owned(), within("text.format.", format_of(format))?);
            }
            _ => return Err(invalid_field(&format!("text.{name}"), "is not known here: leave it out")),
        }
    }
    let mut shown = wanted.clone();
    shown.retain(|_, value| !value.is_null());
    shown.entry("format").or_insert_with(|| json!({"type": "text"}));
    echo.insert("text".to_owned(), shown.into());
    Ok(())
}

/// A schema is an object inside in chat completions. One that says nothing, not even its name, asks for any JSON: some
/// clients write it so.
fn format_of(format: &Fields) -> Result<Value, Problem> {
    match text(format, "type")? {
        Some("json_schema") if non_null(format, "name").or_else(|| non_null(format, "schema")).is_none() => {
            Ok(json!({"type": "json_object"}))
        }
        Some("json_schema") => {
            text(format, "name")?.ok_or_else(|| invalid_field("name", "is missing"))?;
            object_at(
                "schema",
                non_null(format, "schema").ok_or_else(|| invalid_field("schema", "is missing"))?,
            )?;
            let mut schema = format.clone();
            schema.retain(|name, value| name != "type" && !value.is_null());
            Ok(json!({"type": "json_schema", "json_schema": schema}))
        }
        Some("text" | "json_object") => Ok(Value::Object(format.clone())),
        _ => Err(invalid_field("type", "must be text, json_object or json_schema")),
    }
}

/// `reasoning.effort` and `reasoning.summary`. Nothing is summed up here: whoever asks for a summary, of whatever length, gets
/// all that the model tells of its reasoning, in the form of one.
fn reasoning(fields: &Fields, chat: &mut Fields, echo: &mut Fields) -> Result<(), Problem> {
    let Some(wanted) = non_null(fields, "reasoning") else { return Ok(()) };
    let wanted = object_at("reasoning", wanted)?;
    for (name, value) in wanted {
        match (name.as_str(), value.as_str()) {
            _ if value.is_null() => {}
            ("effort", Some(effort)) => {
                chat.insert("reasoning_effort".to_owned(), effort.into());
            }
            ("summary" | "generate_summary", Some("auto" | "concise" | "detailed")) => {}
            ("effort", None) => return Err(invalid_field("reasoning.effort", "must be a text")),
            ("summary" | "generate_summary", _) => {
                return Err(invalid_field(
                    &format!("reasoning.{name}"),
                    "must be auto, concise or detailed; for reasoning as a text leave it out",
                ));
            }
            _ => return Err(invalid_field(&format!("reasoning.{name}"), "is not known here: leave it out")),
        }
    }
    // The second is the older name of the first.
    let summary = non_null(wanted, "summary").or_else(|| non_null(wanted, "generate_summary"));
    echo.insert("reasoning".to_owned(), json!({"effort": non_null(wanted, "effort"), "summary": summary}));
    Ok(())
}
