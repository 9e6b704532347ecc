//! The cursor of a reader: the last entry it has seen.
//!
//! When a browser reconnects, it sends the `id:` of the last event as `Last-Event-ID`. The first connection of an EventSource
//! cannot have a header, so the cursor may also be in the query. The header is newer and wins. A cursor in any other form than
//! this server's ids is refused: reading from a guess would lose or repeat text. An empty or missing cursor means the start.

use axum::{
    extract::Query,
    http::{HeaderMap, Uri},
};
use tokenwire_core::Seq;

use crate::front::{
    describe::{header, parameters, query, text_like},
    problem::Problem,
};

const HEADER: &str = "last-event-id";
const PARAMETER: &str = "last_event_id";

/// More digits than any entry's id will have, and few enough that every such number is a `u64`.
const MAX_DIGITS: usize = 18;

/// Ids as the encoder writes them; empty means from the start.
const PATTERN: &str = "^(0|[1-9][0-9]{0,17})?$";

parameters!(
    /// The cursor as a header.
    CursorHeader,
    header("Last-Event-ID", "The id of the last event that the reader saw.", text_like(PATTERN)),
);

parameters!(
    /// The cursor in the query.
    CursorParameters,
    query(PARAMETER, "The same as `Last-Event-ID`, which wins, for readers that cannot send a header.", text_like(PATTERN)),
);

/// The cursor in the request's headers, if there is one.
pub(super) fn from_header(headers: &HeaderMap) -> Result<Option<Seq>, Problem> {
    let values = headers.get_all(HEADER).iter();
    one(values.map(|value| value.to_str().unwrap_or("what is not even text")))
}

/// The cursor in the request's query, if there is one.
pub(super) fn from_query(uri: &Uri) -> Result<Option<Seq>, Problem> {
    let Query(parameters): Query<Vec<(String, String)>> = Query::try_from_uri(uri)
        .map_err(|_| Problem::invalid_cursor("the query of the address is malformed".to_owned()))?;
    one(parameters.iter().filter(|(name, _)| name == PARAMETER).map(|(_, value)| value.as_str()))
}

fn one<'a>(mut values: impl Iterator<Item = &'a str>) -> Result<Option<Seq>, Problem> {
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::invalid_cursor("the cursor is given more than once".to_owned()));
    }
    if value.is_empty() {
        return Ok(None);
    }
    let ours = value.len() <= MAX_DIGITS && value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(number) if ours && (value.len() == 1 || !value.starts_with('0')) => Ok(Some(Seq::new(number))),
        _ => Err(Problem::invalid_cursor("the cursor is not the id of an event of this server".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &str) -> Result<Option<Seq>, Problem> {
        from_header(&[(HEADER.parse().unwrap(), value.parse().unwrap())].into_iter().collect())
    }

    fn query(query: &str) -> Result<Option<Seq>, Problem> {
        from_query(&format!("/ask/x?{query}").parse().unwrap())
    }

    #[test]
    fn a_cursor_is_an_id_as_this_server_writes_it() {
        assert!(matches!(header("41"), Ok(Some(seq)) if seq == Seq::new(41)));
        assert!(matches!(query("a=b&last_event_id=41"), Ok(Some(seq)) if seq == Seq::new(41)));
        assert!(matches!(query("last_event_id=0"), Ok(Some(Seq::START))));
    }

    #[test]
    fn no_cursor_and_an_empty_one_mean_from_the_start() {
        assert!(matches!(from_header(&HeaderMap::new()), Ok(None)));
        assert!(matches!(header(""), Ok(None)));
        assert!(matches!(query("last_event_id="), Ok(None)));
        assert!(matches!(query("other=1"), Ok(None)));
    }

    #[test]
    fn what_this_server_never_writes_is_no_cursor() {
        for bad in [
            "-1",
            "+1",
            "1.0",
            "0x1",
            "01",
            "1,2",
            "abc",
            "٣",
            "18446744073709551615",
            "99999999999999999999999",
        ] {
            assert!(
                query(&format!("last_event_id={bad}")).is_err_and(|problem| problem.code == "invalid_cursor"),
                "{bad}"
            );
        }
        assert!(
            query("last_event_id=1&last_event_id=1").is_err_and(|problem| problem.code == "invalid_cursor")
        );
        assert!(query("last_event_id=%ff").is_err_and(|problem| problem.code == "invalid_cursor"));
        let twice: HeaderMap = (0..2)
            .map(|_| (HEADER.parse().unwrap(), "1".parse().unwrap()))
            .collect::<Vec<_>>()
            .into_iter()
            .fold(
                HeaderMap::new(),
                |mut map, (name, value): (axum::http::HeaderName, axum::http::HeaderValue)| {
                    map.append(name, value);
                    map
                },
            );
        assert!(from_header(&twice).is_err_and(|problem| problem.code == "invalid_cursor"));
    }
}
