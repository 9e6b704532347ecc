//! What `POST /v1/responses` may say: bytes to a request, and what is kept of it to be shown again.

use std::collections::HashSet;

use axum::http::StatusCode;
use serde_json::Value;
use tokenwire_core::{
    Conversation, Extras, GenerateRequest, GenerationId, Message, ModelName, Sampling, catalogue::ModelNames,
};

use super::{
    id, items,
    metadata::ResponseMetadata,
    options::{self, Options},
};
use crate::front::{
    app::resolve_model,
    json::{self, Fields, boolean, invalid_field, non_null, text},
    problem::Problem,
};

/// A request whose conversation may still need what an earlier response said.
#[derive(Debug)]
pub(super) struct Create {
    model: ModelName,
    sampling: Sampling,
    extras: Extras,
    pub(super) previous: Option<GenerationId>,
    pub(super) stream: bool,
    /// As it is kept, without what was said before.
    pub(super) metadata: ResponseMetadata,
}

/// What a socket is asked: the same, and whether there is to be an answer.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) create: Create,
    pub(super) generate: bool,
}

impl Turn {
    /// What only HTTP has a choice of may be said if it is what a socket does.
    pub(super) fn parse(text: &[u8], models: &ModelNames) -> Result<Self, Problem> {
        let mut fields = json::object(text)?;
        if fields.remove("type").is_none_or(|kind| kind != "response.create") {
            return Err(invalid_field("type", "must be response.create: nothing else is known here"));
        }
        if boolean(&fields, "stream")? == Some(false) {
            return Err(invalid_field("stream", "cannot be false on a socket: send POST, or leave it out"));
        }
        if boolean(&fields, "background")? == Some(true) {
            return Err(invalid_field("background", "is not taken on a socket: send POST, or leave it out"));
        }
        let generate = boolean(&fields, "generate")?.unwrap_or(true);
        fields.remove("generate");
        if !generate && non_null(&fields, "input").is_none() {
            fields.insert("input".to_owned(), Value::Array(Vec::new()));
        }
        Ok(Self { create: Create::read(&fields, models)?, generate })
    }
}

impl Create {
    pub(super) fn parse(body: &[u8], models: &ModelNames) -> Result<Self, Problem> {
        Self::read(&json::object(body)?, models)
    }

    fn read(fields: &Fields, models: &ModelNames) -> Result<Self, Problem> {
        let model = resolve_model(text(fields, "model")?, models)?;
        let Options { sampling, extras, echo } = options::read(fields)?;
        let background = boolean(fields, "background")?.unwrap_or(false);
        let store = boolean(fields, "store")?.unwrap_or(true);
        if background && !store {
            return Err(invalid_field(
                "background",
                "needs store: a response that is not stored cannot be read later",
            ));
        }
        let previous = previous(fields)?;
        let metadata = ResponseMetadata {
            model: Some(model.clone()),
            background,
            store,
            instructions: text(fields, "instructions")?.map(str::to_owned),
            previous_response_id: previous.map(id::response),
            before: Vec::new(),
            input: items::input(fields)?,
            echo,
        };
        let stream = boolean(fields, "stream")?.unwrap_or(false);
        Ok(Self { model, sampling, extras, previous, stream, metadata })
    }

    /// The request whole, after what was said before.
    pub(super) fn after(self, before: Vec<Message>) -> Result<(GenerateRequest, ResponseMetadata), Problem> {
        let Self { model, sampling, extras, metadata, .. } = self;
        check_results(&before, &metadata.input)?;
        let messages = metadata.instructions.iter().map(Message::system);
        let messages =
            messages.chain(before.iter().cloned()).chain(items::messages(&metadata.input)).collect();
        let conversation = Conversation::new(messages).map_err(|error| invalid_field("input", error))?;
        Ok((
            GenerateRequest { model, conversation, sampling, extras },
            ResponseMetadata { before, ..metadata },
        ))
    }
}

/// A result of a call that nobody made would mean nothing to a model.
fn check_results(before: &[Message], input: &[Value]) -> Result<(), Problem> {
    let mut calls: HashSet<&str> =
        before.iter().flat_map(Message::tool_calls).map(|call| call.id.as_str()).collect();
    for (index, item) in input.iter().enumerate() {
        let Some(id) = item.get("call_id").and_then(Value::as_str) else { continue };
        if item.get("type").is_some_and(|kind| kind == "function_call") {
            calls.insert(id);
        } else if !calls.contains(id) {
            return Err(invalid_field(
                &format!("input[{index}].call_id"),
                "answers no call that was made before it",
            ));
        }
    }
    Ok(())
}

/// The response to go on from, if there is one.
pub(super) fn previous(fields: &Fields) -> Result<Option<GenerationId>, Problem> {
    let Some(name) = text(fields, "previous_response_id")? else { return Ok(None) };
    id::parse(name).map(Some).ok_or_else(|| not_found(name))
}

/// The SDKs' users look for this word when a conversation cannot go on.
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

    #[test]
    fn a_text_alone_is_enough_and_null_is_as_good_as_nothing() {
        let alone = Create::parse(br#"{"input": " a "}"#, &models()).unwrap();
        assert!(
            !alone.stream && !alone.metadata.background && alone.metadata.store && alone.previous.is_none()
        );
        let nulls =
            br#"{"input": " a ", "model": null, "stream": null, "store": null, "text": null, "tools": null}"#;
        let [(alone, one), (nulls, two)] =
            [alone, Create::parse(nulls, &models()).unwrap()].map(|create| create.after(Vec::new()).unwrap());
        assert_eq!((&alone, one), (&nulls, two));
        assert_eq!((alone.model.as_str(), alone.conversation.prompt()), ("small", " a "));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = Create::parse(&bytes, &models());
        }

        #[test]
        fn no_value_of_a_parameter_makes_the_parser_panic(
            name in "input|tools|tool_choice|text|reasoning|include|metadata|stream_options|previous_response_id",
            value in r#"null|1|-1|"a"|\[\]|\{\}|\[1\]|\{"a":1\}|\[\{"type":"function"\}\]|\[\{"role":"user","content":\[1\]\}\]"#,
        ) {
            let body = format!(r#"{{"input": "a", "{name}": {value}}}"#);
            if let Ok(create) = Create::parse(body.as_bytes(), &models()) {
                let _ = create.after(Vec::new());
            }
        }
    }
}
