//! The body of `POST /v1/responses`: becomes a request, and the metadata from which it is shown again.

use std::collections::HashSet;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokenwire_core::{
    Conversation, Extras, GenerateRequest, GenerationId, Message, ModelName, Sampling, catalogue::ModelNames,
};
use utoipa::ToSchema;

use super::{
    id,
    items::{self, ResponseInput},
    metadata::ResponseMetadata,
    options::{
        self, Disabled, Include, Metadata, ResponseReasoning, ResponseStreamOptions, ResponseText,
        ResponseTool, ResponseToolChoice,
    },
};
use crate::{
    front::{
        app::resolve_model,
        fields::{Count, Penalty, Seed, Stop, TemperatureField, TopPField},
        json::{self, Fields, non_null},
        problem::Problem,
    },
    openai::parameters::NoTopLogprobs,
};

/// What to answer, and how.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseRequest {
    /// A text of the user, or items.
    #[schema(required, nullable = false)]
    input: Option<ResponseInput>,
    /// A model that `GET /v1/models` lists. Default: the first of them.
    model: Option<String>,
    /// A system message before all others. Instructions of an earlier response do not apply.
    instructions: Option<String>,
    /// Continues this response. It must have ended, and not failed.
    previous_response_id: Option<String>,
    /// Whether to answer with events.
    stream: Option<bool>,
    #[serde(rename = "stream_options")]
    _stream_options: Option<ResponseStreamOptions>,
    /// Whether to answer at once and go on without readers. Needs `store`.
    background: Option<bool>,
    /// `false`: this API does not show the response again.
    store: Option<bool>,
    /// 0 always takes the likeliest token.
    #[schema(inline)]
    temperature: Option<TemperatureField>,
    /// Choose among the likeliest tokens that add up to this share.
    #[schema(inline)]
    top_p: Option<TopPField>,
    /// Choose among this many of the likeliest tokens. Not OpenAI's.
    #[schema(inline)]
    top_k: Option<Count>,
    /// The same seed and request give the same answer, where the model can promise it. Not OpenAI's.
    #[schema(inline)]
    seed: Option<Seed>,
    /// Not OpenAI's.
    #[schema(inline)]
    stop: Option<Stop>,
    /// End after this many tokens; the response is `incomplete` then.
    #[schema(inline)]
    max_output_tokens: Option<Count>,
    /// What the model may call. Handed to the model.
    tools: Option<Vec<ResponseTool>>,
    /// Whether it calls, or has to: `none`, `auto`, `required`, or an object with `type` and `name`. Handed to the model.
    #[serde(rename = "tool_choice")]
    #[schema(inline)]
    _tool_choice: Option<ResponseToolChoice>,
    /// Whether it may make several calls in one answer. Handed to the model.
    #[serde(rename = "parallel_tool_calls")]
    _parallel_tool_calls: Option<bool>,
    /// The form of the answer. Handed to the model.
    text: Option<ResponseText>,
    /// How to think before answering. Handed to the model.
    reasoning: Option<ResponseReasoning>,
    /// Handed to the model.
    #[serde(rename = "frequency_penalty")]
    #[schema(inline)]
    _frequency_penalty: Option<Penalty>,
    /// Handed to the model.
    #[serde(rename = "presence_penalty")]
    #[schema(inline)]
    _presence_penalty: Option<Penalty>,
    /// Nothing is encrypted here: reasoning is plain text.
    #[serde(rename = "include")]
    #[schema(inline)]
    _include: Option<Include>,
    /// No input is shortened here.
    #[serde(rename = "truncation")]
    #[schema(inline)]
    _truncation: Option<Disabled>,
    /// Probabilities are not kept.
    #[serde(rename = "top_logprobs")]
    #[schema(inline)]
    _top_logprobs: Option<NoTopLogprobs>,
    /// Shown in the resource; changes nothing.
    #[serde(rename = "metadata")]
    #[schema(inline)]
    _metadata: Option<Metadata>,
    /// Shown in the resource; changes nothing.
    #[serde(rename = "max_tool_calls")]
    #[schema(inline)]
    _max_tool_calls: Option<Count>,
    /// Shown in the resource; changes nothing.
    #[serde(rename = "prompt_cache_key")]
    _prompt_cache_key: Option<String>,
    /// Changes nothing.
    #[serde(rename = "prompt_cache_retention")]
    _prompt_cache_retention: Option<String>,
    /// Shown in the resource; changes nothing.
    #[serde(rename = "safety_identifier")]
    _safety_identifier: Option<String>,
    /// Shown in the resource; changes nothing.
    #[serde(rename = "service_tier")]
    _service_tier: Option<String>,
    /// Changes nothing.
    #[serde(rename = "user")]
    _user: Option<String>,
}

/// Common parameters that are refused, and what to do instead.
const REFUSED: [(&str, &str); 7] = [
    ("conversation", "is not taken: conversations are not kept here, send previous_response_id"),
    ("prompt", "is not taken: no templates are kept here, send instructions and input"),
    ("max_tokens", "is not taken: use max_output_tokens"),
    ("max_completion_tokens", "is not taken: use max_output_tokens"),
    ("messages", "is not taken: use input"),
    ("response_format", "is not taken: use text.format"),
    ("reasoning_effort", "is not taken: use reasoning.effort"),
];

/// A request whose conversation may still need an earlier response.
#[derive(Debug)]
pub(super) struct Create {
    model: ModelName,
    sampling: Sampling,
    extras: Extras,
    pub(super) previous: Option<GenerationId>,
    pub(super) stream: bool,
    /// As it is stored, without the conversation before.
    pub(super) metadata: ResponseMetadata,
}

/// A request on a socket, and whether it wants an answer.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) create: Create,
    pub(super) generate: bool,
}

/// Fields that a message on a socket has in addition to the body of `POST /v1/responses`.
#[derive(Deserialize)]
struct TurnFields {
    r#type: Option<String>,
    stream: Option<bool>,
    background: Option<bool>,
    generate: Option<bool>,
}

impl Turn {
    /// Options that only HTTP offers are accepted if they have the value that a socket implies.
    pub(super) fn parse(text: &[u8], models: &ModelNames) -> Result<Self, Problem> {
        let mut fields = json::object(text)?;
        let TurnFields { r#type, stream, background, generate } = json::read(&fields)?;
        if r#type.is_none_or(|r#type| r#type != "response.create") {
            return Err(Problem::invalid_field(
                "type",
                "must be response.create: nothing else is known here",
            ));
        }
        if stream == Some(false) {
            return Err(Problem::invalid_field(
                "stream",
                "cannot be false on a socket: send POST, or leave it out",
            ));
        }
        if background == Some(true) {
            let what = "is not taken on a socket: send POST, or leave it out";
            return Err(Problem::invalid_field("background", what));
        }
        let generate = generate.unwrap_or(true);
        fields.retain(|name, _| !["type", "generate"].contains(&name.as_str()));
        if !generate && non_null(&fields, "input").is_none() {
            fields.insert("input".to_owned(), Value::Array(Vec::new()));
        }
        Ok(Self { create: Create::of(&fields, models)?, generate })
    }
}

impl Create {
    pub(super) fn of(fields: &Fields, models: &ModelNames) -> Result<Self, Problem> {
        for (name, what) in REFUSED {
            if non_null(fields, name).is_some() {
                return Err(Problem::invalid_field(name, what));
            }
        }
        let request: ResponseRequest = json::read(fields)?;
        let model = resolve_model(request.model.as_deref(), models)?;
        let tools = request.tools.unwrap_or_default();
        let (extras, echo) =
            options::handed_on(fields, &tools, request.text.as_ref(), request.reasoning.as_ref())?;
        let background = request.background.unwrap_or(false);
        let store = request.store.unwrap_or(true);
        if background && !store {
            let what = "needs store: a response that is not stored cannot be read later";
            return Err(Problem::invalid_field("background", what));
        }
        let previous = request.previous_response_id.as_deref().map(previous).transpose()?;
        let missing = || Problem::invalid_field("input", "is missing: write what you want to ask");
        let sampling = Sampling {
            temperature: request.temperature.map(|TemperatureField(temperature)| temperature),
            top_p: request.top_p.map(|TopPField(top_p)| top_p),
            top_k: request.top_k.map(|Count(top_k)| top_k),
            seed: request.seed.map(|Seed(seed)| seed),
            max_tokens: request.max_output_tokens.map(|Count(most)| most),
            stop: request.stop.unwrap_or_default().0,
        };
        let metadata = ResponseMetadata {
            model: Some(model.clone()),
            background,
            store,
            instructions: request.instructions,
            previous_response_id: previous.map(id::response),
            before: Vec::new(),
            input: items::items(request.input.ok_or_else(missing)?)?,
            echo,
        };
        Ok(Self { model, sampling, extras, previous, stream: request.stream.unwrap_or(false), metadata })
    }

    /// The whole request, with the conversation before it.
    pub(super) fn after(self, before: Vec<Message>) -> Result<(GenerateRequest, ResponseMetadata), Problem> {
        let Self { model, sampling, extras, metadata, .. } = self;
        check_results(&before, &metadata.input)?;
        let messages = metadata.instructions.iter().map(Message::system);
        let messages =
            messages.chain(before.iter().cloned()).chain(items::messages(&metadata.input)).collect();
        let conversation =
            Conversation::new(messages).map_err(|error| Problem::invalid_field("input", error))?;
        Ok((
            GenerateRequest { model, conversation, sampling, extras },
            ResponseMetadata { before, ..metadata },
        ))
    }
}

/// A result without its call would mean nothing to a model.
fn check_results(before: &[Message], input: &[Value]) -> Result<(), Problem> {
    let mut calls: HashSet<&str> =
        before.iter().flat_map(Message::tool_calls).map(|call| call.id.as_str()).collect();
    for (index, item) in input.iter().enumerate() {
        let Some(id) = item.get("call_id").and_then(Value::as_str) else { continue };
        if item.get("type").is_some_and(|kind| kind == "function_call") {
            calls.insert(id);
        } else if !calls.contains(id) {
            let what = "answers no call that was made before it";
            return Err(Problem::invalid_field(format!("input[{index}].call_id"), what));
        }
    }
    Ok(())
}

/// The response to continue.
pub(super) fn previous(name: &str) -> Result<GenerationId, Problem> {
    id::parse(name).ok_or_else(|| not_found(name))
}

/// SDKs check for this code when a conversation cannot continue.
pub(super) fn not_found(name: &str) -> Problem {
    let message = format!("there is no response {name}: it never was, or is not kept any more");
    Problem::request(StatusCode::BAD_REQUEST, "previous_response_not_found", message)
        .about_field("previous_response_id")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn models() -> ModelNames {
        ModelNames::new(ModelName::new("small").unwrap(), [ModelName::new("large").unwrap()])
    }

    fn parse(body: &[u8]) -> Result<Create, Problem> {
        Create::of(&json::object(body)?, &models())
    }

    #[test]
    fn a_text_alone_is_enough_and_null_is_as_good_as_nothing() {
        let alone = parse(br#"{"input": " a "}"#).unwrap();
        assert!(
            !alone.stream && !alone.metadata.background && alone.metadata.store && alone.previous.is_none()
        );
        let nulls =
            br#"{"input": " a ", "model": null, "stream": null, "store": null, "text": null, "tools": null}"#;
        let [(alone, one), (nulls, two)] =
            [alone, parse(nulls).unwrap()].map(|create| create.after(Vec::new()).unwrap());
        assert_eq!((&alone, one), (&nulls, two));
        assert_eq!((alone.model.as_str(), alone.conversation.prompt()), ("small", " a "));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_value_of_a_parameter_makes_the_parser_panic(
            name in "input|tools|tool_choice|text|reasoning|include|metadata|stream_options|previous_response_id",
            value in r#"null|1|-1|"a"|\[\]|\{\}|\[1\]|\{"a":1\}|\[\{"type":"function"\}\]|\[\{"role":"user","content":\[1\]\}\]"#,
        ) {
            let body = format!(r#"{{"input": "a", "{name}": {value}}}"#);
            if let Ok(create) = parse(body.as_bytes()) {
                let _ = create.after(Vec::new());
            }
        }
    }
}
