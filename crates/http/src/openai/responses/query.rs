//! The query parameters below `/v1/responses/{id}`. Others are ignored: they ask for details that are not stored.

use axum::{extract::Query, http::Uri};

use serde_json::json;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, Schema, schema::Type};

use super::wait::LONGEST;
use crate::front::{
    describe::{constant, header, parameters, query},
    fields::{one_of, whole},
    problem::Problem,
};

type Parameters = Vec<(String, String)>;

/// How a response is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// As it stands now, or after a wait of so many seconds for its end.
    Resource { wait: Option<u64> },
    /// As events, all of them or those after a number.
    Events { after: Option<u64> },
}

/// Which items of an input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) limit: usize,
    pub(super) oldest_first: bool,
    pub(super) after: Option<String>,
}

parameters!(
    /// How a response is to be read, for the OpenAPI document.
    ReadParameters,
    query(
        "wait",
        "How many seconds to wait for the end, where there is none yet. Not with `stream`.",
        or_empty(whole(0, LONGEST)),
    ),
    header(
        "Prefer",
        "`wait=20`: the same as a wish (RFC 7240), shortened where it is too long. `Preference-Applied` says what was done.",
        ObjectBuilder::new().schema_type(Type::String),
    ),
    query("stream", "Whether to answer with events.", one_of(FLAGS.map(|flag| json!(flag)))),
    query("starting_after", "With `stream`: only the events after this number.", or_empty(whole(0, u64::MAX))),
    query(
        "include_obfuscation",
        "Not done here: `false`.",
        one_of(["false", "False", "0", ""].map(|flag| json!(flag))),
    ),
);

parameters!(
    /// Which items of an input, for the OpenAPI document.
    PageParameters,
    query("limit", "How many at once. Default: 20.", or_empty(whole(1, 100))),
    query("order", "`asc`: the oldest item first.", one_of(["asc", "desc", ""].map(|order| json!(order)))),
    query("after", "The `id` of the item after which to go on.", ObjectBuilder::new().schema_type(Type::String)),
);

/// SDKs write a boolean as their language does.
const FLAGS: [&str; 7] = ["true", "false", "True", "False", "1", "0", ""];

/// An empty value counts as absent.
fn or_empty(number: ObjectBuilder) -> Schema {
    OneOfBuilder::new().item(number).item(constant("")).into()
}

pub(super) fn wanted(uri: &Uri) -> Result<Wanted, Problem> {
    let parameters = parameters(uri)?;
    let after = match value(&parameters, "starting_after") {
        None => None,
        Some(number) => {
            let number = number
                .parse()
                .map_err(|_| Problem::invalid_field("starting_after", "must be the number of an event"))?;
            Some(number)
        }
    };
    if flag(&parameters, "include_obfuscation")? {
        return Err(Problem::invalid_field(
            "include_obfuscation",
            "is not done here: leave it out, or send false",
        ));
    }
    let wait = match value(&parameters, "wait") {
        None => None,
        Some(seconds) => {
            let seconds = seconds.parse().ok().filter(|seconds| *seconds <= LONGEST);
            let told = || {
                Problem::invalid_field("wait", format!("must be a whole number of seconds, up to {LONGEST}"))
            };
            Some(seconds.ok_or_else(told)?)
        }
    };
    match (flag(&parameters, "stream")?, after) {
        (true, _) if wait.is_some() => {
            Err(Problem::invalid_field("wait", "is not for streams: they tell of the end when it comes"))
        }
        (true, after) => Ok(Wanted::Events { after }),
        (false, None) => Ok(Wanted::Resource { wait }),
        (false, Some(_)) => {
            Err(Problem::invalid_field("starting_after", "is for streams: send stream=true, or leave it out"))
        }
    }
}

pub(super) fn page(uri: &Uri) -> Result<Page, Problem> {
    let parameters = parameters(uri)?;
    let limit = value(&parameters, "limit").map_or(Ok(20), str::parse);
    let limit = limit.ok().filter(|limit| (1..=100).contains(limit));
    let oldest_first = match value(&parameters, "order") {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(Problem::invalid_field("order", "must be asc or desc")),
    };
    Ok(Page {
        limit: limit.ok_or_else(|| Problem::invalid_field("limit", "must be a number from 1 to 100"))?,
        oldest_first,
        after: value(&parameters, "after").map(str::to_owned),
    })
}

fn parameters(uri: &Uri) -> Result<Parameters, Problem> {
    let Query(parameters) = Query::try_from_uri(uri).map_err(|_| Problem::invalid_query())?;
    Ok(parameters)
}

/// The last value wins, as in most servers; an empty one is none.
fn value<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    let given = parameters.iter().rev().find(|(given, _)| given == name);
    given.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

fn flag(parameters: &Parameters, name: &str) -> Result<bool, Problem> {
    match value(parameters, name) {
        None | Some("false" | "False" | "0") => Ok(false),
        Some("true" | "True" | "1") => Ok(true),
        Some(_) => Err(Problem::invalid_field(name, "must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(query: &str) -> Uri {
        format!("/v1/responses/x?{query}").parse().unwrap()
    }

    #[test]
    fn a_response_is_read_as_it_stands_or_as_events() {
        for query in ["", "stream=false", "stream=", "include[]=a&include_obfuscation=false"] {
            assert_eq!(wanted(&at(query)).unwrap(), Wanted::Resource { wait: None }, "{query}");
        }
        assert_eq!(wanted(&at("wait=0")).unwrap(), Wanted::Resource { wait: Some(0) });
        assert_eq!(wanted(&at("stream=true")).unwrap(), Wanted::Events { after: None });
        assert_eq!(wanted(&at("stream=true&starting_after=0")).unwrap(), Wanted::Events { after: Some(0) });
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for query in [
            "stream=yes",
            "starting_after=1",
            "stream=true&starting_after=-1",
            "include_obfuscation=true",
            "wait=51",
            "wait=-1",
            "wait=1&stream=true",
        ] {
            assert!(wanted(&at(query)).is_err(), "{query}");
        }
        for query in ["limit=0", "limit=101", "limit=a", "order=up"] {
            assert!(page(&at(query)).is_err(), "{query}");
        }
    }
}
