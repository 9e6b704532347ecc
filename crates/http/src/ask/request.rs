//! What `POST /ask` may say: bytes to a request that core knows, with every mistake told by the name of its field.

use serde_json::Value;
use tokenwire_core::{Conversation, GenerateRequest, GenerationId, Message, catalogue::ModelNames};

use crate::front::{
    app::resolve_model,
    json::{self, Fields, invalid_field, list, text, type_name},
    problem::Problem,
};

/// A question, and the id that the client chose for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) id: Option<GenerationId>,
    pub(super) request: GenerateRequest,
}

/// What is read. Everything else is ignored.
pub(super) const FIELDS: [&str; 10] =
    ["query", "messages", "uuid", "model", "temperature", "top_p", "top_k", "seed", "max_tokens", "stop"];

impl Ask {
    pub(super) fn parse(body: &[u8], models: &ModelNames) -> Result<Self, Problem> {
        let mut fields = json::object(body)?;
        fields.retain(|name, _| FIELDS.contains(&name.as_str()));
        let conversation = conversation(&fields)?;
        let id = match text(&fields, "uuid")? {
            Some(id) => Some(id.parse().map_err(|error| invalid_field("uuid", format!("is {error}")))?),
            None => None,
        };
        let model = resolve_model(text(&fields, "model")?, models)?;
        let sampling = json::sampling(&fields)?;
        Ok(Self { id, request: GenerateRequest { sampling, ..GenerateRequest::new(model, conversation) } })
    }
}

/// A prompt alone, or messages.
fn conversation(fields: &Fields) -> Result<Conversation, Problem> {
    match (text(fields, "query")?, list(fields, "messages")?) {
        (Some(query), None) => Conversation::of(query).map_err(|error| invalid_field("query", error)),
        (None, Some(messages)) => {
            let messages = messages.iter().enumerate().map(|(index, said)| message(index, said));
            Conversation::new(messages.collect::<Result<_, _>>()?)
                .map_err(|error| invalid_field("messages", error))
        }
        (Some(_), Some(_)) => Err(invalid_field("query", "and messages are both there: send one of them")),
        (None, None) => Err(invalid_field("query", "is missing: write what you want to ask")),
    }
}

fn message(index: usize, said: &Value) -> Result<Message, Problem> {
    let at = |what: &str| Problem {
        message: format!("messages[{index}]{what}"),
        ..Problem::invalid_field("messages", "")
    };
    let Value::Object(said) = said else {
        return Err(at(&format!(" must be an object, not {}", type_name(said))));
    };
    let message = match said.get("role").and_then(Value::as_str) {
        Some("system") => Message::system,
        Some("user") => Message::user,
        Some("assistant") => Message::assistant,
        _ => return Err(at(".role must be system, user or assistant")),
    };
    match said.get("content") {
        Some(Value::String(content)) => Ok(message(content.clone())),
        Some(other) => Err(at(&format!(".content must be a text, not {}", type_name(other)))),
        None => Err(at(".content is missing")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, header};
    use proptest::prelude::*;
    use tokenwire_core::ModelName;

    use super::*;
    use crate::front::json::check_content_type;

    fn models() -> ModelNames {
        ModelNames::new(ModelName::new("simulated").unwrap(), [ModelName::new("other").unwrap()])
    }

    fn parse(body: &str) -> Result<Ask, Problem> {
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
                Err(problem) => {
                    assert_eq!((problem.field.as_deref(), &*problem.message), (Some(field), message));
                }
                Ok(ask) => panic!("{body}: {ask:?}"),
            }
        }
    }

    #[test]
    fn json_that_is_no_object_and_bytes_that_are_no_json_are_told_apart() {
        for body in ["5", "null", "[]", r#""query""#] {
            assert_eq!(parse(body).unwrap_err().code, "invalid_body", "{body}");
        }
        let deep = "[".repeat(100_000);
        for body in ["", "{", "{'query': 'a'}", r#"{"query": "a"} x"#, r#"{"query": "\ud800"}"#, &deep] {
            assert_eq!(parse(body).unwrap_err().code, "invalid_json", "{body:.20}");
        }
        assert_eq!(Ask::parse(b"{\"query\": \"\xff\"}", &models()).unwrap_err().code, "invalid_json");
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
