//! Parameters that the OpenAI front ends share. None that would change the answer is ignored.
//!
//! | Parameter | What becomes of it |
//! |---|---|
//! | options of every model, by OpenAI's names | honoured by every model |
//! | `tools`, `response_format`, penalties and so on; unknown parameters | go to the model, which honours them or refuses them by name |
//! | unsupported by all models here (`n`, `logprobs`, audio, legacy functions) | refused |
//! | about the caller or storage (`user`, `metadata`, `store`) | accepted, and change nothing |
//!
//! Unknown parameters go to the model because its service has dozens of its own (`min_p`, `chat_template_kwargs`), and only
//! the service can distinguish those from mistakes.

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Value, json};
use tokenwire_core::Extras;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, OneOfBuilder, schema::Type},
};

use crate::front::{
    fields::{described, one_of, only},
    json::{Fields, non_null, type_name},
    problem::Problem,
};

only!(
    /// One answer to a request.
    One,
    json!(1),
    "must be 1: ask once for each answer"
);
only!(
    /// Probabilities are not kept.
    NoLogprobs,
    json!(false),
    "is not taken: answers are kept without probabilities"
);
only!(
    /// Probabilities are not kept.
    NoTopLogprobs,
    json!(0),
    "is not taken: answers are kept without probabilities"
);
only!(
    /// Events are not padded.
    NoObfuscation,
    json!(false),
    "is not done here: leave it out, or send false"
);

/// The models here call only functions.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FunctionType {
    Function,
}

/// Whether the model calls a tool: a word, or an object that names one.
#[derive(Debug)]
pub(super) enum ToolChoice {
    Word,
    Named,
}

impl<'de> Deserialize<'de> for ToolChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(word) if matches!(&*word, "none" | "auto" | "required") => Ok(Self::Word),
            Value::String(_) => {
                Err(Error::custom("must be none, auto, required, or an object that names a tool"))
            }
            Value::Object(_) => Ok(Self::Named),
            other => {
                Err(Error::custom(format_args!("must be a text or an object, not {}", type_name(&other))))
            }
        }
    }
}

described!(
    ToolChoice,
    "ToolChoice",
    OneOfBuilder::new()
        .item(one_of(["none", "auto", "required"].map(|word| json!(word))))
        .item(ObjectBuilder::new().schema_type(Type::Object))
);

/// How the answer is sent. Not part of the stored request: a repeated call may choose another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Whole, once it is complete.
    Whole,
    /// As it comes.
    Streamed {
        /// With a last chunk that has the usage.
        usage: bool,
    },
}

impl Shown {
    pub(super) fn of(stream: Option<bool>, options: Option<StreamOptions>) -> Result<Self, Problem> {
        match (stream.unwrap_or(false), options) {
            (false, None) => Ok(Shown::Whole),
            (true, options) => {
                let usage = options.and_then(|options| options.include_usage).unwrap_or(false);
                Ok(Shown::Streamed { usage })
            }
            (false, Some(_)) => {
                let what = "is for streams: send stream: true, or leave it out";
                Err(Problem::invalid_field("stream_options", what))
            }
        }
    }
}

/// What else the events of an answer contain.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamOptions {
    /// Whether a last chunk has the usage.
    include_usage: Option<bool>,
    /// Events are not padded.
    #[serde(rename = "include_obfuscation")]
    #[schema(inline)]
    _include_obfuscation: Option<NoObfuscation>,
}

/// What goes to the model, as it was written. Values equal to the default are dropped, so that a model that lacks the
/// parameter does not reject the request.
pub(super) fn extras(mut fields: Fields) -> Result<Extras, Problem> {
    let tools = non_null(&fields, "tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
    let asks_for_none = ["none", "auto"].map(Value::from);
    if !tools && non_null(&fields, "tool_choice").is_some_and(|choice| !asks_for_none.contains(choice)) {
        return Err(Problem::invalid_field("tool_choice", "asks for a tool, and there is none in tools"));
    }
    fields.retain(|name, value| !(value.is_null() || is_default(name, value, tools)));
    Ok(Extras::new(fields))
}

/// Whether a parameter has the value that it has when it is left out.
fn is_default(name: &str, value: &Value, tools: bool) -> bool {
    match name {
        "frequency_penalty" | "presence_penalty" => value.as_f64() == Some(0.0),
        "logit_bias" => value.as_object().is_some_and(serde_json::Map::is_empty),
        "response_format" => value.get("type").and_then(Value::as_str) == Some("text"),
        // Without tools, only values that ask for none get here.
        "tools" | "tool_choice" | "parallel_tool_calls" => !tools,
        _ => false,
    }
}
