//! Problems as they could come, for the descriptions of operations.

use crate::{config::Config, front::problem::Problem};

/// What can be wrong with any body.
pub(crate) fn of_bodies() -> impl Iterator<Item = Problem> {
    let not_json = serde_json::from_str::<()>("{").err().map(|error| Problem::not_json(&error));
    let limit = Config::default().max_body;
    not_json.into_iter().chain([
        Problem::broken_body(),
        Problem::too_slow(),
        Problem::too_large(limit),
        Problem::not_declared_json(),
    ])
}

/// What can keep a client from reading a stream from where it stands.
pub(crate) fn of_streams() -> impl Iterator<Item = Problem> {
    let cursor = Problem::invalid_cursor("the cursor is not the id of an event of this server");
    [cursor, unavailable(), Problem::too_many_streams()].into_iter()
}

pub(crate) fn unavailable() -> Problem {
    Problem::unavailable("an example")
}
