//! How long a client waits for the end of a response.
//!
//! SDKs poll, so the default is to answer at once. With `Prefer: wait=20` (RFC 7240) or `?wait=20` the answer comes when the
//! response has ended, or after 20 s.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;

use super::{response::Response, stored};
use crate::front::{app::App, problem::Problem};

const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(super) const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest wait, in seconds: below the 60 s after which common proxies give up on an answer.
pub(super) const LONGEST: u64 = 50;

/// How long a client wants to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    seconds: u64,
    preferred: bool,
}

impl Wait {
    /// From the query, which is binding, or else from the header, which is a preference.
    pub(super) fn of(ordered: Option<u64>, headers: &HeaderMap) -> Self {
        match (ordered, preferred(headers)) {
            (Some(seconds), _) => Self { seconds, preferred: false },
            (None, Some(seconds)) => Self { seconds: seconds.min(LONGEST), preferred: true },
            (None, None) => Self { seconds: 0, preferred: false },
        }
    }

    /// Waits for the end of a response, of which nothing was read yet. Afterwards it is as of now. A drain ends the wait: the
    /// client asks another replica.
    pub(super) async fn until_end(self, app: &App, response: &mut Response) -> Result<(), Problem> {
        let read = stored::catch_up(app, response).await?;
        if self.seconds == 0 || response.has_ended() {
            return Ok(());
        }
        let _permit = app.limits.open_stream()?;
        tokio::select! {
            biased;
            () = app.drain.cancelled() => Ok(()),
            ended = timeout(Duration::from_secs(self.seconds), stored::follow(app, response, read)) => {
                ended.unwrap_or(Ok(()))
            }
        }
    }

    /// The header that confirms the preference, with the applied time.
    pub(super) fn applied(self) -> Option<[(HeaderName, HeaderValue); 1]> {
        let told =
            || HeaderValue::try_from(format!("wait={}", self.seconds)).expect("digits are plain ASCII");
        self.preferred.then(|| [(APPLIED, told())])
    }
}

/// The first `wait` among the preferences. Unknown ones are ignored.
fn preferred(headers: &HeaderMap) -> Option<u64> {
    let all = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let preferences = all.flat_map(|value| value.split(','));
    let mut waits = preferences.filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse().ok())
    });
    waits.next()?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ordered: Option<u64>, wishes: &[&str]) -> (u64, Option<String>) {
        let mut headers = HeaderMap::new();
        for wish in wishes {
            headers.append(PREFER, wish.parse().unwrap());
        }
        let wait = Wait::of(ordered, &headers);
        (wait.seconds, wait.applied().map(|[(_, value)]| value.to_str().unwrap().to_owned()))
    }

    #[test]
    fn a_wish_is_understood_among_others_and_never_refused() {
        assert_eq!(of(None, &[]), (0, None));
        assert_eq!(of(None, &["respond-async, Wait = \"7\"; x=1", "wait=9"]), (7, Some("wait=7".to_owned())));
        assert_eq!(of(None, &["wait=600"]), (50, Some("wait=50".to_owned())));
        for wish in ["wait", "wait=a", "wait=-1", "waiting=3", ""] {
            assert_eq!(of(None, &[wish]), (0, None), "{wish}");
        }
    }

    #[test]
    fn an_order_counts_more_than_a_wish() {
        assert_eq!(of(Some(3), &["wait=9"]), (3, None));
    }
}
