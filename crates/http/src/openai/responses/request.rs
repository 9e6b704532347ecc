//! What `POST /v1/responses` may say: bytes to a request, and what is kept of it to be shown again.

use std::collections::HashSet;

use serde_json::Value;
use tokenwire_core::{
    Conversation, Extras, GenerateRequest, GenerationId, Message, ModelName, Sampling, catalogue::ModelNames,
};

use super::{
    super::{error::ApiError, models},
    id, items,
    memo::Memo,
    options::{self, Options},
};
use crate::{
    error::Error,
    json::{self, Fields, boolean, given, text, wrong},
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
    pub(super) memo: Memo,
}

/// What a socket is asked: the same, and whether there is to be an answer.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) create: Create,
    pub(super) generate: bool,
}

impl Turn {
    /// What only HTTP has a choice of may be said if it is what a socket does.
    pub(super) fn parse(text: &[u8], models: &ModelNames) -> Result<Self, ApiError> {
        let mut fields = json::object(text)?;
        if fields.remove("type").is_none_or(|kind| kind != "response.create") {
            return Err(wrong("type", "must be response.create: nothing else is known here").into());
        }
        if boolean(&fields, "stream")? == Some(false) {
            return Err(wrong("stream", "cannot be false on a socket: send POST, or leave it out").into());
        }
        if boolean(&fields, "background")? == Some(true) {
            return Err(wrong("background", "is not taken on a socket: send POST, or leave it out").into());
        }
        let generate = boolean(&fields, "generate")?.unwrap_or(true);
        fields.remove("generate");
        if !generate && given(&fields, "input").is_none() {
            fields.insert("input".to_owned(), Value::Array(Vec::new()));
        }
        Ok(Self { create: Create::read(&fields, models)?, generate })
    }
}

impl Create {
    pub(super) fn parse(body: &[u8], models: &ModelNames) -> Result<Self, ApiError> {
        Self::read(&json::object(body)?, models)
    }

    fn read(fields: &Fields, models: &ModelNames) -> Result<Self, ApiError> {
        let model = match text(fields, "model")? {
            Some(name) => models::find(name, models)?,
            None => models.default_name().clone(),
        };
        let Options { sampling, extras, echo } = options::read(fields)?;
        let background = boolean(fields, "background")?.unwrap_or(false);
        let store = boolean(fields, "store")?.unwrap_or(true);
        if background && !store {
            return Err(wrong(
                "background",
                "needs store: a response that is not stored cannot be read later",
            )
            .into());
        }
        let previous = previous(fields)?;
        let memo = Memo {
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
        Ok(Self { model, sampling, extras, previous, stream, memo })
    }

    /// The request whole, after what was said before.
    pub(super) fn after(self, before: Vec<Message>) -> Result<(GenerateRequest, Memo), ApiError> {
        let Self { model, sampling, extras, memo, .. } = self;
        check_results(&before, &memo.input)?;
        let messages = memo.instructions.iter().map(Message::system);
        let messages = messages.chain(before.iter().cloned()).chain(items::messages(&memo.input)).collect();
        let conversation = Conversation::new(messages).map_err(|error| wrong("input", error))?;
        Ok((GenerateRequest { model, conversation, sampling, extras }, Memo { before, ..memo }))
    }
}

/// A result of a call that nobody made would mean nothing to a model.
fn check_results(before: &[Message], input: &[Value]) -> Result<(), Error> {
    let mut calls: HashSet<&str> =
        before.iter().flat_map(Message::tool_calls).map(|call| call.id.as_str()).collect();
    for (index, item) in input.iter().enumerate() {
        let Some(id) = item.get("call_id").and_then(Value::as_str) else { continue };
        if item.get("type").is_some_and(|kind| kind == "function_call") {
            calls.insert(id);
        } else if !calls.contains(id) {
            return Err(wrong(&format!("input[{index}].call_id"), "answers no call that was made before it"));
        }
    }
    Ok(())
}

/// The response to go on from, if there is one.
pub(super) fn previous(fields: &Fields) -> Result<Option<GenerationId>, ApiError> {
    let Some(name) = text(fields, "previous_response_id")? else { return Ok(None) };
    id::parse(name).map(Some).ok_or_else(|| not_found(name))
}

/// The SDKs' users look for this word when a conversation cannot go on.
pub(super) fn not_found(name: &str) -> ApiError {
    let message = format!("there is no response {name}: it never was, or is not kept any more");
    ApiError::invalid("previous_response_id".to_owned(), message).coded("previous_response_not_found")
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
        assert!(!alone.stream && !alone.memo.background && alone.memo.store && alone.previous.is_none());
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
