//! What `POST /ask` may say: bytes to a request that core knows, with every mistake told by the name of its field.
//!
//! The body is read as a JSON value first and by field second: a derived parser would call every mistake a bad body.

use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};
use tokenwire_core::{GenerateRequest, GenerationId, ModelName, Prompt, catalogue::ModelNames};

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
        let query = text(&fields, "query")?
            .ok_or_else(|| wrong("query", "is missing: write what you want to ask"))?;
        let prompt = Prompt::new(query).map_err(|error| wrong("query", error))?;
        let id = match text(&fields, "uuid")? {
            Some(id) => Some(id.parse().map_err(|error| wrong("uuid", format!("is {error}")))?),
            None => None,
        };
        let model = match text(&fields, "model")? {
            Some(name) => known(name, models)?,
            None => models.default_name().clone(),
        };
        Ok(Self { id, request: GenerateRequest { model, prompt } })
    }
}

/// The text of a field; `None` when it is not there, or null.
fn text<'a>(fields: &'a Map<String, Value>, field: &'static str) -> Result<Option<&'a str>, Error> {
    let other = match fields.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text)),
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "an object",
    };
    Err(wrong(field, format!("must be a text, not {other}")))
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
        assert_eq!(ask.request.prompt.as_str(), " Hello\nworld");
        assert_eq!(ask.request.model.as_str(), "simulated");
    }

    #[test]
    fn null_is_as_good_as_nothing_and_unknown_fields_are_ignored() {
        let ask = parse(r#"{"query": "a", "uuid": null, "model": null, "temperature": 0.5}"#).unwrap();
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
