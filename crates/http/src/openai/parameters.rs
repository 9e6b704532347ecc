//! The parameters of a chat completion beside its messages: none is ignored that would change the answer.
//!
//! | Parameter | What becomes of it |
//! |---|---|
//! | the options of every model, by OpenAI's names | honoured by whatever model answers |
//! | `tools`, `response_format`, penalties and so on; all that is not named here | goes to the model, which does it or refuses it by name |
//! | what no model here could do (`n`, `logprobs`, audio, legacy functions) | refused here |
//! | what says who asks, or what is kept (`user`, `metadata`, `store`) | accepted, and changes nothing |
//!
//! Why unknown ones go to the model: the services behind it have dozens of their own (`min_p`, `chat_template_kwargs`),
//! and only they can tell one of those from a mistake.

use serde_json::Value;
use tokenwire_core::{Extras, Sampling};

use crate::{
    front::json::{
        self, Fields, boolean, count, invalid_field, list, non_null, number, object_at, text, type_name,
        within,
    },
    front::problem::Problem,
};

/// Read here or in [`super::request`], by name.
const OWN: [&str; 14] = [
    "messages",
    "model",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "n",
    "logprobs",
    "modalities",
];

/// They say who asks, how it is billed or what is kept: nothing that changes an answer. (Every answer is kept for the
/// retention time.)
const IGNORED_PARAMS: [&str; 8] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "top_logprobs",
    "user",
];

/// Every parameter that does not go to the model as it is.
#[cfg(test)]
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    OWN.into_iter().chain(IGNORED_PARAMS)
}

/// How the model should choose, where OpenAI's names or ranges differ from ours.
pub(super) fn sampling(fields: &mut Fields) -> Result<Sampling, Problem> {
    let limit = count(fields, "max_completion_tokens")?;
    match (limit, count(fields, "max_tokens")?) {
        (Some(limit), Some(older)) if limit != older => {
            return Err(invalid_field(
                "max_tokens",
                "is not the same as max_completion_tokens: send one of them",
            ));
        }
        (Some(limit), _) => {
            fields.insert("max_tokens".to_owned(), limit.get().into());
        }
        (None, _) => {}
    }
    // A seed may be negative. It has no meaning but to be the same again.
    if let Some(seed) = non_null(fields, "seed").and_then(Value::as_i64) {
        fields.insert("seed".to_owned(), seed.cast_unsigned().into());
    }
    json::sampling(fields)
}

/// Refuses what no model here could do.
pub(super) fn check(fields: &Fields) -> Result<(), Problem> {
    let plain = |name: &str, fits: bool, what: &str| match non_null(fields, name) {
        Some(_) if !fits => Err(invalid_field(name, what)),
        _ => Ok(()),
    };
    let value = |name| non_null(fields, name);
    plain("n", value("n").and_then(Value::as_u64) == Some(1), "must be 1: ask once for each answer")?;
    let probabilities = "is not taken: answers are kept without probabilities";
    plain("logprobs", boolean(fields, "logprobs")? == Some(false), probabilities)?;
    plain("top_logprobs", value("top_logprobs").and_then(Value::as_u64) == Some(0), probabilities)?;
    let text_alone = value("modalities").and_then(Value::as_array).is_some_and(|all| all == &["text"]);
    plain("modalities", text_alone, r#"must be ["text"]: the models here write text alone"#)?;
    plain("audio", false, "is not taken: the models here write text alone")?;
    plain("functions", false, "is not taken: use tools")?;
    plain("function_call", false, "is not taken: use tool_choice")?;
    let ours = "is not taken: how an answer goes on is the server's own";
    plain("add_generation_prompt", false, ours)?;
    plain("continue_final_message", false, ours)
}

/// What goes to the model, its shape checked as far as clients commonly mistake it. What says the same as nothing is left
/// out: a model that does not know it need not refuse it.
pub(super) fn extras(mut fields: Fields) -> Result<Extras, Problem> {
    for name in ["frequency_penalty", "presence_penalty"] {
        if number(&fields, name)?.is_some_and(|penalty| !(-2.0..=2.0).contains(&penalty)) {
            return Err(invalid_field(name, "must be a number from -2 to 2"));
        }
    }
    let tools = tools(&fields)?;
    for name in ["reasoning_effort", "verbosity"] {
        text(&fields, name)?;
    }
    if let Some(bias) = non_null(&fields, "logit_bias") {
        object_at("logit_bias", bias)?;
    }
    if let Some(format) = non_null(&fields, "response_format") {
        let format = object_at("response_format", format)?;
        within("response_format.", text(format, "type")?.ok_or_else(|| invalid_field("type", "is missing")))?;
    }
    fields.retain(|name, value| {
        let known = OWN.iter().chain(&IGNORED_PARAMS).any(|known| known == name);
        !(known || value.is_null() || says_nothing(name, value, tools))
    });
    Ok(Extras::new(fields))
}

/// Whether there are tools. They must be functions: pieces of other calls have no place in a stream.
fn tools(fields: &Fields) -> Result<bool, Problem> {
    let tools = list(fields, "tools")?.unwrap_or_default();
    for (index, tool) in tools.iter().enumerate() {
        let place = format!("tools[{index}]");
        let tool = object_at(&place, tool)?;
        within(format_args!("{place}."), function(tool))?;
    }
    boolean(fields, "parallel_tool_calls")?;
    match non_null(fields, "tool_choice") {
        Some(Value::String(choice)) if matches!(&**choice, "none" | "auto") => {}
        Some(Value::String(choice)) if choice != "required" => {
            return Err(invalid_field(
                "tool_choice",
                "must be none, auto, required, or an object that names a tool",
            ));
        }
        Some(Value::String(_) | Value::Object(_)) if tools.is_empty() => {
            return Err(invalid_field("tool_choice", "asks for a tool, and there is none in tools"));
        }
        None | Some(Value::String(_) | Value::Object(_)) => {}
        Some(other) => {
            return Err(invalid_field(
                "tool_choice",
                format!("must be a text or an object, not {}", type_name(other)),
            ));
        }
    }
    Ok(!tools.is_empty())
}

fn function(tool: &Fields) -> Result<(), Problem> {
    if text(tool, "type")? != Some("function") {
        return Err(invalid_field("type", "must be function"));
    }
    let function = non_null(tool, "function").ok_or_else(|| invalid_field("function", "is missing"))?;
    let name = text(object_at("function", function)?, "name");
    within("function.", name?.ok_or_else(|| invalid_field("name", "is missing"))).map(drop)
}

/// Whether a parameter has the value that it has when it is left out.
fn says_nothing(name: &str, value: &Value, tools: bool) -> bool {
    match name {
        "frequency_penalty" | "presence_penalty" => value.as_f64() == Some(0.0),
        "logit_bias" => value.as_object().is_some_and(serde_json::Map::is_empty),
        "response_format" => value.get("type").and_then(Value::as_str) == Some("text"),
        // Without tools only what asks for none of them has come this far.
        "tools" | "tool_choice" | "parallel_tool_calls" => !tools,
        _ => false,
    }
}
