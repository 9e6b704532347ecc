//! Headers that are lists of words.

use axum::http::{HeaderMap, HeaderName};

/// Whether one of the header's values contains this word. The case does not matter.
pub(crate) fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(word))
}
