//! What `POST /v1/chat/completions` may say: bytes to a request that core knows, and how its answer is to be shown.

use tokenwire_core::{GenerateRequest, catalogue::ModelNames};

use super::messages;
use crate::{
    front::app::resolve_model,
    front::json::{self, Fields, boolean, invalid_field, non_null, object_at, text, within},
    front::problem::Problem,
    openai::parameters,
};

#[derive(Debug)]
pub(in super::super) struct ChatRequest {
    pub(in super::super) request: GenerateRequest,
    pub(super) shown: Shown,
}

/// How the answer travels. No part of what is asked: a repeated call may want it otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// In one piece, once it is there.
    Whole,
    /// As it comes.
    Streamed {
        /// With a last chunk that says what it cost.
        usage: bool,
    },
}

impl ChatRequest {
    pub(in super::super) fn parse(body: &[u8], models: &ModelNames) -> Result<Self, Problem> {
        let mut fields = json::object(body)?;
        let model = resolve_model(text(&fields, "model")?, models)?;
        let shown = shown(&fields)?;
        parameters::check(&fields)?;
        let conversation = messages::conversation(&fields)?;
        let sampling = parameters::sampling(&mut fields)?;
        let extras = parameters::extras(fields)?;
        Ok(Self { request: GenerateRequest { model, conversation, sampling, extras }, shown })
    }
}

fn shown(fields: &Fields) -> Result<Shown, Problem> {
    let streamed = boolean(fields, "stream")?.unwrap_or(false);
    let Some(options) = non_null(fields, "stream_options") else {
        return Ok(if streamed { Shown::Streamed { usage: false } } else { Shown::Whole });
    };
    let options = object_at("stream_options", options)?;
    if !streamed {
        return Err(invalid_field("stream_options", "is for streams: send stream: true, or leave it out"));
    }
    within("stream_options.", stream_options(options)).map(|usage| Shown::Streamed { usage })
}

fn stream_options(options: &Fields) -> Result<bool, Problem> {
    for (name, value) in options {
        match name.as_str() {
            "include_usage" => {}
            "include_obfuscation" if boolean(options, name)? != Some(true) => {}
            "include_obfuscation" => {
                return Err(invalid_field(name, "is not done here: leave it out, or send false"));
            }
            _ if value.is_null() => {}
            _ => return Err(invalid_field(name, "is not known here: leave it out")),
        }
    }
    Ok(boolean(options, "include_usage")?.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tokenwire_core::ModelName;

    use super::*;

    fn models() -> ModelNames {
        ModelNames::new(ModelName::new("small").unwrap(), [ModelName::new("large").unwrap()])
    }

    fn with(more: &Value) -> ChatRequest {
        let mut body = json!({"model": "large", "messages": [{"role": "user", "content": "a"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ChatRequest::parse(body.to_string().as_bytes(), &models()).unwrap()
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
        assert_eq!(ChatRequest::parse(body, &models()).unwrap().request.model.as_str(), "small");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = ChatRequest::parse(&bytes, &models());
        }

        #[test]
        fn no_value_of_a_parameter_makes_the_parser_panic(
            name in "tools|tool_choice|messages|stop|n|seed|stream_options|response_format|logit_bias",
            value in r#"null|1|-1|"a"|\[\]|\{\}|\[1\]|\{"a":1\}|\[\{"type":"function"\}\]|[0-9]{30}"#,
        ) {
            let body = format!(r#"{{"messages": [{{"role": "user", "content": "a"}}], "{name}": {value}}}"#);
            let _ = ChatRequest::parse(body.as_bytes(), &models());
        }
    }
}
