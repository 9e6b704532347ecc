//! What `POST /ask` may say: bytes to a request that core knows, with every mistake told by the name of its field.
//!
//! The body is read as a JSON value first and by field second: a derived parser would call every mistake a bad body.

use std::num::NonZeroU32;

use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};
use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, InvalidStopTexts, Message, ModelName, Sampling, StopTexts,
    Temperature, TopP, catalogue::ModelNames,
};

use crate::error::Error;

/// A question, and the id that the client chose for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) id: Option<GenerationId>,
    pub(super) request: GenerateRequest,
}

/// Whether the body is declared as JSON. Parameters such as a charset are ignored: JSON is UTF-8.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Error> {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Error::NotDeclaredJson) }
}

impl Ask {
    pub(super) fn parse(body: &[u8], models: &ModelNames) -> Result<Self, Error> {
        let body: Value = serde_json::from_slice(body).map_err(Error::NotJson)?;
        let Value::Object(fields) = body else { return Err(Error::NotAnObject) };
        let conversation = conversation(&fields)?;
        let id = match text(&fields, "uuid")? {
            Some(id) => Some(id.parse().map_err(|error| wrong("uuid", format!("is {error}")))?),
            None => None,
        };
        let model = match text(&fields, "model")? {
            Some(name) => known(name, models)?,
            None => models.default_name().clone(),
        };
        let sampling = sampling(&fields)?;
        Ok(Self { id, request: GenerateRequest { sampling, ..GenerateRequest::new(model, conversation) } })
    }
}

type Fields = Map<String, Value>;

/// A prompt alone, or messages.
fn conversation(fields: &Fields) -> Result<Conversation, Error> {
    match (text(fields, "query")?, list(fields, "messages")?) {
        (Some(query), None) => Conversation::of(query).map_err(|error| wrong("query", error)),
        (None, Some(messages)) => {
            let messages = messages.iter().enumerate().map(|(index, said)| message(index, said));
            Conversation::new(messages.collect::<Result<_, _>>()?).map_err(|error| wrong("messages", error))
        }
        (Some(_), Some(_)) => Err(wrong("query", "and messages are both there: send one of them")),
        (None, None) => Err(wrong("query", "is missing: write what you want to ask")),
    }
}

fn message(index: usize, said: &Value) -> Result<Message, Error> {
    let at = |what: &str| Error::Field { field: "messages", message: format!("messages[{index}]{what}") };
    let Value::Object(said) = said else {
        return Err(at(&format!(" must be an object, not {}", kind(said))));
    };
    let message = match said.get("role").and_then(Value::as_str) {
        Some("system") => Message::system,
        Some("user") => Message::user,
        Some("assistant") => Message::assistant,
        _ => return Err(at(".role must be system, user or assistant")),
    };
    match said.get("content") {
        Some(Value::String(content)) => Ok(message(content.clone())),
        Some(other) => Err(at(&format!(".content must be a text, not {}", kind(other)))),
        None => Err(at(".content is missing")),
    }
}

fn sampling(fields: &Fields) -> Result<Sampling, Error> {
    let temperature = number(fields, "temperature")?.map(Temperature::new).transpose();
    let top_p = number(fields, "top_p")?.map(TopP::new).transpose();
    Ok(Sampling {
        temperature: temperature.map_err(|error| wrong("temperature", error))?,
        top_p: top_p.map_err(|error| wrong("top_p", error))?,
        top_k: count(fields, "top_k")?,
        seed: whole(fields, "seed")?,
        max_tokens: count(fields, "max_tokens")?,
        stop: stop(fields)?,
    })
}

/// One text, or a list of them.
fn stop(fields: &Fields) -> Result<StopTexts, Error> {
    let texts = match fields.get("stop") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(texts)) => texts.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    texts.and_then(|texts| StopTexts::new(texts).ok()).ok_or_else(|| wrong("stop", InvalidStopTexts))
}

/// The text of a field; `None` when it is not there, or null.
fn text<'a>(fields: &'a Fields, field: &'static str) -> Result<Option<&'a str>, Error> {
    match given(fields, field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong(field, format!("must be a text, not {}", kind(other)))),
    }
}

fn list<'a>(fields: &'a Fields, field: &'static str) -> Result<Option<&'a [Value]>, Error> {
    match given(fields, field) {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => Err(wrong(field, format!("must be a list, not {}", kind(other)))),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "no option needs more than six digits")]
fn number(fields: &Fields, field: &'static str) -> Result<Option<f32>, Error> {
    match given(fields, field) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64().map(|number| number as f32)),
        Some(other) => Err(wrong(field, format!("must be a number, not {}", kind(other)))),
    }
}

fn whole(fields: &Fields, field: &'static str) -> Result<Option<u64>, Error> {
    let Some(value) = given(fields, field) else { return Ok(None) };
    value.as_u64().map(Some).ok_or_else(|| wrong(field, "must be a whole number from 0"))
}

fn count(fields: &Fields, field: &'static str) -> Result<Option<NonZeroU32>, Error> {
    let Some(value) = given(fields, field) else { return Ok(None) };
    let count = value.as_u64().and_then(|count| u32::try_from(count).ok()).and_then(NonZeroU32::new);
    count.map(Some).ok_or_else(|| wrong(field, "must be a whole number from 1"))
}

/// A field that is there, and is not null.
fn given<'a>(fields: &'a Fields, field: &str) -> Option<&'a Value> {
    fields.get(field).filter(|value| !value.is_null())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn known(name: &str, models: &ModelNames) -> Result<ModelName, Error> {
    match ModelName::new(name) {
        Ok(name) if models.contains(&name) => Ok(name),
        Ok(_) | Err(_) => {
            let there = models.iter().map(ModelName::as_str).collect::<Vec<_>>().join(", ");
            Err(wrong("model", format!("is not one of those that exist: {there}")))
        }
    }
}

fn wrong(field: &'static str, what: impl std::fmt::Display) -> Error {
    Error::Field { field, message: format!("{field} {what}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn models() -> ModelNames {
        ModelNames::new(ModelName::new("simulated").unwrap(), [ModelName::new("other").unwrap()])
    }

    fn parse(body: &str) -> Result<Ask, Error> {
        Ask::parse(body.as_bytes(), &models())
    }

    #[test]
    fn a_question_alone_is_enough() {
        let ask = parse(r#"{"query": " Hello\nworld"}"#).unwrap();
        assert_eq!(ask.id, None);
        assert_eq!(ask.request.conversation.prompt(), " Hello\nworld");
        assert_eq!(ask.request.model.as_str(), "simulated");
    }

    #[test]
    fn messages_and_options_are_taken_as_they_are() {
        let ask = parse(
            r#"{"messages": [{"role": "system", "content": ""}, {"role": "user", "content": " a "}],
                "temperature": 0.8, "top_p": 1, "top_k": 40, "seed": 7, "max_tokens": 9, "stop": "x"}"#,
        )
        .unwrap();
        let said = ask.request.conversation.messages();
        assert_eq!(said, [Message::system(""), Message::user(" a ")]);
        let given = serde_json::to_string(&ask.request.sampling).unwrap();
        let expected = r#"{"temperature":0.8,"top_p":1.0,"top_k":40,"seed":7,"max_tokens":9,"stop":["x"]}"#;
        assert_eq!(given, expected);
    }

    #[test]
    fn one_message_asks_the_same_as_a_query() {
        let message = parse(r#"{"messages": [{"role": "user", "content": "a"}]}"#).unwrap();
        assert_eq!(message, parse(r#"{"query": "a"}"#).unwrap());
    }

    #[test]
    fn null_is_as_good_as_nothing_and_unknown_fields_are_ignored() {
        let ask =
            parse(r#"{"query": "a", "uuid": null, "model": null, "stop": null, "colour": 0.5}"#).unwrap();
        assert_eq!(ask, parse(r#"{"query": "a"}"#).unwrap());
    }

    #[test]
    fn every_mistake_names_its_field_and_what_to_do() {
        for (body, field, message) in [
            (r"{}", "query", "query is missing: write what you want to ask"),
            (r#"{"query": null}"#, "query", "query is missing: write what you want to ask"),
            (r#"{"query": " \n"}"#, "query", "query is empty: write what you want to ask"),
            (r#"{"query": 5}"#, "query", "query must be a text, not a number"),
            (r#"{"query": ["a"]}"#, "query", "query must be a text, not a list"),
            (r#"{"messages": []}"#, "messages", "messages is empty: write what you want to ask"),
            (r#"{"messages": "a"}"#, "messages", "messages must be a list, not a text"),
            (
                r#"{"query": "a", "messages": []}"#,
                "query",
                "query and messages are both there: send one of them",
            ),
            (r#"{"messages": ["a"]}"#, "messages", "messages[0] must be an object, not a text"),
            (
                r#"{"messages": [{"role": "user", "content": "a"}, {"role": "robot", "content": "a"}]}"#,
                "messages",
                "messages[1].role must be system, user or assistant",
            ),
            (r#"{"messages": [{"role": "user"}]}"#, "messages", "messages[0].content is missing"),
            (
                r#"{"messages": [{"role": "user", "content": [{"type": "text"}]}]}"#,
                "messages",
                "messages[0].content must be a text, not a list",
            ),
            (
                r#"{"messages": [{"role": "assistant", "content": "a"}]}"#,
                "messages",
                "messages must end with a message of the user, or the result of a tool: that is what is answered",
            ),
            (
                r#"{"query": "a", "temperature": 2.5}"#,
                "temperature",
                "temperature must be a number from 0 to 2",
            ),
            (r#"{"query": "a", "top_p": "1"}"#, "top_p", "top_p must be a number, not a text"),
            (r#"{"query": "a", "top_k": 0}"#, "top_k", "top_k must be a whole number from 1"),
            (r#"{"query": "a", "seed": -1}"#, "seed", "seed must be a whole number from 0"),
            (
                r#"{"query": "a", "max_tokens": 4294967296}"#,
                "max_tokens",
                "max_tokens must be a whole number from 1",
            ),
            (r#"{"query": "a", "stop": [1]}"#, "stop", "stop must be up to 16 texts of 1 to 256 bytes"),
            (r#"{"query": "a", "stop": ""}"#, "stop", "stop must be up to 16 texts of 1 to 256 bytes"),
            (r#"{"query": "a", "uuid": true}"#, "uuid", "uuid must be a text, not a boolean"),
            (
                r#"{"query": "a", "uuid": "42"}"#,
                "uuid",
                "uuid is not a UUID: write it like 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3",
            ),
            (r#"{"query": "a", "model": {}}"#, "model", "model must be a text, not an object"),
            (
                r#"{"query": "a", "model": "gpt"}"#,
                "model",
                "model is not one of those that exist: other, simulated",
            ),
            (
                r#"{"query": "a", "model": "\n"}"#,
                "model",
                "model is not one of those that exist: other, simulated",
            ),
        ] {
            match parse(body) {
                Err(Error::Field { field: found, message: said }) => {
                    assert_eq!((found, &*said), (field, message));
                }
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn json_that_is_no_object_and_bytes_that_are_no_json_are_told_apart() {
        for body in ["5", "null", "[]", r#""query""#] {
            assert!(matches!(parse(body), Err(Error::NotAnObject)), "{body}");
        }
        let deep = "[".repeat(100_000);
        for body in ["", "{", "{'query': 'a'}", r#"{"query": "a"} x"#, r#"{"query": "\ud800"}"#, &deep] {
            assert!(matches!(parse(body), Err(Error::NotJson(_))), "{body:.20}");
        }
        assert!(matches!(Ask::parse(b"{\"query\": \"\xff\"}", &models()), Err(Error::NotJson(_))));
    }

    #[test]
    fn json_may_be_declared_with_parameters_and_in_any_case() {
        let check = |value: &str| {
            check_content_type(&[(header::CONTENT_TYPE, value.parse().unwrap())].into_iter().collect())
        };
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/json;x"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonp",
            "application/x-www-form-urlencoded",
            "text/plain; application/json",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = Ask::parse(&bytes, &models());
        }

        #[test]
        fn no_fields_make_the_parser_panic(query in ".*", uuid in ".*", model in ".*") {
            let body = serde_json::json!({"query": query, "uuid": uuid, "model": model}).to_string();
            let _ = Ask::parse(body.as_bytes(), &models());
        }
    }
}
