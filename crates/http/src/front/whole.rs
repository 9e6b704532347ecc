//! Waits for a whole answer.

use tokenwire_core::{Entry, Follower, follow::FollowError};

use super::{app::App, problem::Problem};

/// The largest answer that is held for one client, in bytes. A long answer has some hundred thousand.
pub(crate) const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The message for a client that waits while the server drains, from a front end that writes `Location`.
pub(crate) const DRAINING: &str =
    "this server is going away: ask again, or read the answer at the address in Location";

/// Reads a stream until `take` returns the answer. A drain ends the wait; the generation goes on. May be dropped.
pub(crate) async fn wait<T>(
    app: &App,
    follower: Follower,
    draining: &str,
    take: impl FnMut(&Entry) -> Result<Option<T>, Problem>,
) -> Result<T, Problem> {
    tokio::select! {
        biased;
        () = app.drain.cancelled() => Err(Problem::draining(draining)),
        answer = read(follower, take) => answer,
    }
}

/// Reads until `take` returns a value.
pub(crate) async fn read<T>(
    mut follower: Follower,
    mut take: impl FnMut(&Entry) -> Result<Option<T>, Problem>,
) -> Result<T, Problem> {
    loop {
        let entries = match follower.next().await {
            Ok(Some(entries)) => entries,
            // A stream ends with a terminal entry (I1).
            Ok(None) | Err(FollowError::Lost(_)) => return Err(Problem::stream_lost()),
            Err(error) => return Err(error.into()),
        };
        for entry in &*entries {
            if let Some(answer) = take(entry)? {
                return Ok(answer);
            }
        }
    }
}
