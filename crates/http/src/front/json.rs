//! Requests in JSON: bytes to fields, and fields to values, with every mistake told by the name of its field.
//!
//! A body is read as a JSON value first and by field second: a derived parser would call every mistake a bad body. A field
//! that is `null` is not there.

use std::num::NonZeroU32;

use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};
use tokenwire_core::{InvalidStopTexts, Sampling, StopTexts, Temperature, TopP};

use super::problem::Problem;

/// The fields of an object.
pub(crate) type Fields = Map<String, Value>;

/// Whether the body is declared as JSON. Parameters such as a charset are ignored: JSON is UTF-8.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Problem::not_declared_json()) }
}

/// The body, which must be an object.
pub(crate) fn object(body: &[u8]) -> Result<Fields, Problem> {
    match serde_json::from_slice(body).map_err(|error| Problem::not_json(&error))? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Problem::not_an_object()),
    }
}

/// The options that every front end takes by the same names.
pub(crate) fn sampling(fields: &Fields) -> Result<Sampling, Problem> {
    let temperature = number(fields, "temperature")?.map(Temperature::new).transpose();
    let top_p = number(fields, "top_p")?.map(TopP::new).transpose();
    Ok(Sampling {
        temperature: temperature.map_err(|error| invalid_field("temperature", error))?,
        top_p: top_p.map_err(|error| invalid_field("top_p", error))?,
        top_k: count(fields, "top_k")?,
        seed: whole(fields, "seed")?,
        max_tokens: count(fields, "max_tokens")?,
        stop: stop(fields)?,
    })
}

/// One text, or a list of them.
fn stop(fields: &Fields) -> Result<StopTexts, Problem> {
    let texts = match non_null(fields, "stop") {
        None => Some(Vec::new()),
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(texts)) => texts.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    texts.and_then(|texts| StopTexts::new(texts).ok()).ok_or_else(|| invalid_field("stop", InvalidStopTexts))
}

pub(crate) fn text<'a>(fields: &'a Fields, field: &str) -> Result<Option<&'a str>, Problem> {
    match non_null(fields, field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(invalid_field(field, format!("must be a text, not {}", type_name(other)))),
    }
}

pub(crate) fn list<'a>(fields: &'a Fields, field: &str) -> Result<Option<&'a [Value]>, Problem> {
    match non_null(fields, field) {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => Err(invalid_field(field, format!("must be a list, not {}", type_name(other)))),
    }
}

pub(crate) fn boolean(fields: &Fields, field: &str) -> Result<Option<bool>, Problem> {
    match non_null(fields, field) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(other) => Err(invalid_field(field, format!("must be true or false, not {}", type_name(other)))),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "no option needs more than six digits")]
pub(crate) fn number(fields: &Fields, field: &str) -> Result<Option<f32>, Problem> {
    match non_null(fields, field) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64().map(|number| number as f32)),
        Some(other) => Err(invalid_field(field, format!("must be a number, not {}", type_name(other)))),
    }
}

fn whole(fields: &Fields, field: &str) -> Result<Option<u64>, Problem> {
    let Some(value) = non_null(fields, field) else { return Ok(None) };
    value.as_u64().map(Some).ok_or_else(|| invalid_field(field, "must be a whole number from 0"))
}

pub(crate) fn count(fields: &Fields, field: &str) -> Result<Option<NonZeroU32>, Problem> {
    let Some(value) = non_null(fields, field) else { return Ok(None) };
    let count = value.as_u64().and_then(|count| u32::try_from(count).ok()).and_then(NonZeroU32::new);
    count.map(Some).ok_or_else(|| invalid_field(field, "must be a whole number from 1"))
}

/// A field that is there, and is not null.
pub(crate) fn non_null<'a>(fields: &'a Fields, field: &str) -> Option<&'a Value> {
    fields.get(field).filter(|value| !value.is_null())
}

/// What a value is, in words.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Says what is wrong with a field; the message begins with its name.
pub(crate) fn invalid_field(field: &str, what: impl std::fmt::Display) -> Problem {
    Problem::invalid_field(field, what)
}

/// Says in which part of the request the object is in which a field is wrong: a prefix of names such as `messages[0].`.
pub(crate) fn within<T>(place: impl std::fmt::Display, read: Result<T, Problem>) -> Result<T, Problem> {
    read.map_err(|problem| match problem.field {
        Some(field) => Problem {
            message: format!("{place}{}", problem.message),
            field: Some(format!("{place}{field}")),
            ..problem
        },
        None => problem,
    })
}

/// An object at a place of its own.
pub(crate) fn object_at<'a>(place: &str, value: &'a Value) -> Result<&'a Fields, Problem> {
    value
        .as_object()
        .ok_or_else(|| invalid_field(place, format!("must be an object, not {}", type_name(value))))
}
