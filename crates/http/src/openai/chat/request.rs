//! What `POST /v1/chat/completions` takes: a body to a request that core knows, and how its answer is to be shown.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokenwire_core::{GenerateRequest, Sampling, catalogue::ModelNames};
use utoipa::ToSchema;

use super::messages::{self, ChatMessage};
use crate::{
    front::{
        app::resolve_model,
        fields::{Count, Penalty, SignedSeed, Stop, TemperatureField, TopPField, only},
        json::{self, Fields, non_null},
        problem::Problem,
    },
    openai::parameters::{
        self, FunctionType, NoLogprobs, NoTopLogprobs, One, Shown, StreamOptions, ToolChoice,
    },
};

#[derive(Debug)]
pub(super) struct ChatRequest {
    pub(super) request: GenerateRequest,
    pub(super) shown: Shown,
}

only!(
    /// The models here write text alone.
    TextAlone,
    json!(["text"]),
    r#"must be ["text"]: the models here write text alone"#
);

/// What to answer, and how. A parameter that is not named here goes to the model, which does it or refuses it by its name.
#[derive(Deserialize, ToSchema)]
pub(super) struct ChatCompletionRequest {
    /// What was said so far. The last message is the user's, or the result of a tool; all of them together have at most
    /// 256 KiB of UTF-8.
    #[schema(value_type = Vec<ChatMessage>, required, min_items = 1, max_items = 1024)]
    messages: Option<Vec<Value>>,
    /// One of those that `GET /v1/models` lists. Default: the first of them.
    model: Option<String>,
    /// Whether to answer with events.
    stream: Option<bool>,
    /// Only with `stream`.
    stream_options: Option<StreamOptions>,
    /// 0 always takes the likeliest token.
    #[schema(inline)]
    temperature: Option<TemperatureField>,
    /// Choose among the likeliest tokens that add up to this share.
    #[schema(inline)]
    top_p: Option<TopPField>,
    /// Choose among this many of the likeliest tokens. Not OpenAI's.
    #[schema(inline)]
    top_k: Option<Count>,
    /// The same seed and request give the same answer, where the model can promise it.
    #[schema(inline)]
    seed: Option<SignedSeed>,
    /// End after this many tokens, with `finish_reason` `length`.
    #[schema(inline)]
    max_completion_tokens: Option<Count>,
    /// The older name of `max_completion_tokens`. Both have to agree.
    #[schema(inline)]
    max_tokens: Option<Count>,
    #[schema(inline)]
    stop: Option<Stop>,
    /// One answer to a request.
    #[serde(rename = "n")]
    #[schema(inline)]
    _n: Option<One>,
    /// Probabilities are not kept.
    #[serde(rename = "logprobs")]
    #[schema(inline)]
    _logprobs: Option<NoLogprobs>,
    /// Probabilities are not kept.
    #[serde(rename = "top_logprobs")]
    #[schema(inline)]
    _top_logprobs: Option<NoTopLogprobs>,
    /// The models here write text alone.
    #[serde(rename = "modalities")]
    #[schema(inline)]
    _modalities: Option<TextAlone>,
    /// What the model may call. Handed to the model.
    #[serde(rename = "tools")]
    _tools: Option<Vec<ChatTool>>,
    /// Whether it calls, or has to: `none`, `auto`, `required`, or an object that names a tool. Handed to the model.
    #[serde(rename = "tool_choice")]
    #[schema(inline)]
    _tool_choice: Option<ToolChoice>,
    /// Whether it may make several calls in one answer. Handed to the model.
    #[serde(rename = "parallel_tool_calls")]
    _parallel_tool_calls: Option<bool>,
    /// The form that the answer must have. Handed to the model.
    #[serde(rename = "response_format")]
    _response_format: Option<ChatResponseFormat>,
    /// Handed to the model.
    #[serde(rename = "frequency_penalty")]
    #[schema(inline)]
    _frequency_penalty: Option<Penalty>,
    /// Handed to the model.
    #[serde(rename = "presence_penalty")]
    #[schema(inline)]
    _presence_penalty: Option<Penalty>,
    /// What to add to the likelihood of tokens, by their numbers. Handed to the model.
    #[serde(rename = "logit_bias")]
    _logit_bias: Option<Map<String, Value>>,
    /// How long to think before answering. Handed to the model.
    #[serde(rename = "reasoning_effort")]
    _reasoning_effort: Option<String>,
    /// How much to say. Handed to the model.
    #[serde(rename = "verbosity")]
    _verbosity: Option<String>,
}

/// Something that the model may call. It goes to the model as it was written.
#[derive(Deserialize, ToSchema)]
struct ChatTool {
    #[serde(rename = "type")]
    _type: FunctionType,
    #[serde(rename = "function")]
    _function: ChatFunction,
}

/// A function, with a description, a JSON Schema of its `parameters`, and what else the model knows.
#[derive(Deserialize, ToSchema)]
struct ChatFunction {
    #[serde(rename = "name")]
    _name: String,
}

/// The form of an answer: `text`, `json_object`, `json_schema` with a `json_schema`, or what else the model knows.
#[derive(Deserialize, ToSchema)]
struct ChatResponseFormat {
    #[serde(rename = "type")]
    _type: String,
}

/// They have types above, and do not go to the model.
const READ: [&str; 15] = [
    "messages",
    "model",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "max_completion_tokens",
    "max_tokens",
    "stop",
    "n",
    "logprobs",
    "top_logprobs",
    "modalities",
];

/// They say who asks, how it is billed or what is kept: nothing that changes an answer. (Every answer is kept for the
/// retention time.)
const IGNORED_PARAMS: [&str; 7] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
];

/// No model here could do what they ask for.
const REFUSED: [(&str, &str); 5] = [
    ("audio", "is not taken: the models here write text alone"),
    ("functions", "is not taken: use tools"),
    ("function_call", "is not taken: use tool_choice"),
    ("add_generation_prompt", "is not taken: how an answer goes on is the server's own"),
    ("continue_final_message", "is not taken: how an answer goes on is the server's own"),
];

impl ChatRequest {
    pub(super) fn of(mut fields: Fields, models: &ModelNames) -> Result<Self, Problem> {
        for (name, what) in REFUSED {
            if non_null(&fields, name).is_some() {
                return Err(Problem::invalid_field(name, what));
            }
        }
        let request: ChatCompletionRequest = json::read(&fields)?;
        let model = resolve_model(request.model.as_deref(), models)?;
        let shown = Shown::of(request.stream, request.stream_options)?;
        let messages = request
            .messages
            .ok_or_else(|| Problem::invalid_field("messages", "is missing: write what you want to ask"))?;
        let max_tokens = match (request.max_completion_tokens, request.max_tokens) {
            (Some(limit), Some(older)) if limit != older => {
                let what = "is not the same as max_completion_tokens: send one of them";
                return Err(Problem::invalid_field("max_tokens", what));
            }
            (limit, older) => limit.or(older),
        };
        let sampling = Sampling {
            temperature: request.temperature.map(|TemperatureField(temperature)| temperature),
            top_p: request.top_p.map(|TopPField(top_p)| top_p),
            top_k: request.top_k.map(|Count(top_k)| top_k),
            seed: request.seed.map(|SignedSeed(seed)| seed),
            max_tokens: max_tokens.map(|Count(most)| most),
            stop: request.stop.unwrap_or_default().0,
        };
        let conversation = messages::conversation(&messages)?;
        fields.retain(|name, _| !READ.iter().chain(&IGNORED_PARAMS).any(|read| read == name));
        let extras = parameters::extras(fields)?;
        Ok(Self { request: GenerateRequest { model, conversation, sampling, extras }, shown })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use tokenwire_core::ModelName;

    use super::*;

    fn models() -> ModelNames {
        ModelNames::new(ModelName::new("small").unwrap(), [ModelName::new("large").unwrap()])
    }

    fn with(more: &Value) -> ChatRequest {
        let mut body = json!({"model": "large", "messages": [{"role": "user", "content": "a"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ChatRequest::of(body.as_object().unwrap().clone(), &models()).unwrap()
    }

    #[test]
    fn options_that_every_model_knows_are_taken_by_openais_names() {
        let asked = with(
            &json!({"temperature": 0.5, "top_p": 1, "seed": -1, "max_completion_tokens": 9, "stop": "x"}),
        );
        let sampling = serde_json::to_value(&asked.request.sampling).unwrap();
        let expected =
            json!({"temperature": 0.5, "top_p": 1.0, "seed": u64::MAX, "max_tokens": 9, "stop": ["x"]});
        assert_eq!(sampling, expected);
        let older = with(&json!({"max_tokens": 9, "max_completion_tokens": null}));
        assert_eq!(older.request.sampling.max_tokens.unwrap().get(), 9);
    }

    #[test]
    fn what_only_some_models_know_goes_to_the_model_as_it_was_written() {
        let tool =
            json!({"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}});
        let given = json!({
            "tools": [tool], "tool_choice": "auto", "parallel_tool_calls": false,
            "response_format": {"type": "json_object"}, "frequency_penalty": 0.5, "presence_penalty": -0.5,
            "logit_bias": {"7": 1}, "reasoning_effort": "low", "verbosity": "low", "prediction": {"type": "content"},
            "min_p": 0.1, "chat_template_kwargs": {"enable_thinking": false},
        });
        assert_eq!(serde_json::to_value(&with(&given).request.extras).unwrap(), given);
    }

    #[test]
    fn what_changes_no_answer_is_not_part_of_what_is_asked() {
        let more = json!({
            "user": "u", "metadata": {"a": "b"}, "store": true, "service_tier": "auto", "safety_identifier": "s",
            "prompt_cache_key": "k", "prompt_cache_retention": "24h",
            "n": 1, "logprobs": false, "top_logprobs": 0, "modalities": ["text"], "audio": null, "functions": null,
            "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "response_format": {"type": "text"},
            "tools": [], "tool_choice": "none", "parallel_tool_calls": true, "stop": null, "temperature": null,
            "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false},
        });
        let (plain, more) = (with(&json!({})), with(&more));
        assert_eq!(plain.request, more.request);
        assert_eq!((plain.shown, more.shown), (Shown::Whole, Shown::Streamed { usage: true }));
    }

    #[test]
    fn a_model_that_is_not_named_is_the_default_one() {
        let body = br#"{"messages": [{"role": "user", "content": "a"}]}"#;
        let fields = json::object(body).unwrap();
        assert_eq!(ChatRequest::of(fields, &models()).unwrap().request.model.as_str(), "small");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = json::object(&bytes).and_then(|fields| ChatRequest::of(fields, &models()));
        }

        #[test]
        fn no_value_of_a_parameter_makes_the_parser_panic(
            name in "tools|tool_choice|messages|stop|n|seed|stream_options|response_format|logit_bias",
            value in r#"null|1|-1|"a"|\[\]|\{\}|\[1\]|\{"a":1\}|\[\{"type":"function"\}\]|[0-9]{30}"#,
        ) {
            let body = format!(r#"{{"messages": [{{"role": "user", "content": "a"}}], "{name}": {value}}}"#);
            let _ = json::object(body.as_bytes()).and_then(|fields| ChatRequest::of(fields, &models()));
        }
    }
}
