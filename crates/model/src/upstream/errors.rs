//! Why an upstream returned no answer, or a part of one, and what follows.
//!
//! There are three kinds. The upstream did not accept the request (busy or unreachable): the generation waits and loses no
//! attempt. It accepted the request and failed: the attempt counts. It will never answer: the generation ends.
//!
//! An upstream's message about a request goes to the caller, without the key. Its message about Tokenwire's access (key,
//! quota, URL) goes to the log: the caller learns only that the request is not at fault.

use std::time::Duration;

use reqwest::StatusCode;
use tokenwire_core::{BoxError, explain, model::ModelError};

use super::{
    config::Key,
    endpoints::{Away, Wait},
    wire::ErrorBody,
};

/// The maximum length of an upstream's message that is passed on, in characters.
const MAX_WORDS: usize = 500;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum UpstreamError {
    /// It has no capacity.
    Busy { status: StatusCode, retry_after: Option<Duration> },
    /// It cannot be reached, or it is not up.
    Absent { cause: BoxError, retry_after: Option<Duration>, taken: Taken },
    /// The request was not sent: all replicas are busy or unreachable, and their time is not over.
    HeldBack(Wait),
    /// It accepted the request and failed.
    Broken { cause: BoxError, retry_after: Option<Duration> },
    /// It closed the connection without a byte.
    HungUp { cause: BoxError },
    /// It responds wrongly. A retry would give the same.
    Odd { cause: String },
    /// It refuses Tokenwire's access: key, quota or URL.
    Refused { status: StatusCode },
    /// It will never answer this request.
    Rejected { status: StatusCode, message: String },
}

/// Whether the request may have been accepted before the upstream turned out to be unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// No connection was made.
    No,
    /// The request was sent. A request that kills the upstream looks the same.
    Maybe,
}

impl UpstreamError {
    /// It failed for this reason.
    pub(super) fn broken(cause: impl Into<BoxError>) -> Self {
        Self::Broken { cause: cause.into(), retry_after: None }
    }

    /// The error for this status.
    pub(super) fn of(
        status: StatusCode,
        error_body: Option<&ErrorBody>,
        retry_after: Option<Duration>,
        key: Option<&Key>,
    ) -> Self {
        let words = error_body.and_then(ErrorBody::message).map(|words| presentable(words, key));
        let said = || {
            let words = words.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
            format!("the upstream answered {status}{words}").into()
        };
        match status.as_u16() {
            // Some services use 529 for 503.
            429 | 503 | 529 => Self::Busy { status, retry_after },
            // A gateway has no server behind it. 521 to 523 are Cloudflare's codes for that.
            408 | 409 | 425 | 502 | 504 | 521..=523 => {
                Self::Absent { cause: said(), retry_after, taken: Taken::Maybe }
            }
            500.. => Self::Broken { cause: said(), retry_after },
            400 | 404 | 413 | 422 => {
                let message = words.unwrap_or_else(|| format!("the upstream answered {status}"));
                Self::Rejected { status, message }
            }
            401..500 => Self::Refused { status },
            _ => Self::Odd { cause: format!("the upstream answered {status} where an answer was expected") },
        }
    }

    /// Why the replica gets no requests for a while, if it is busy or unreachable.
    pub(super) fn away(&self) -> Option<Away> {
        match self {
            Self::Busy { .. } => Some(Away::Busy),
            Self::Absent { cause, .. } | Self::HungUp { cause } => Some(Away::Absent(explain(&**cause))),
            Self::HeldBack(wait) => Some(wait.away.clone()),
            Self::Broken { .. } | Self::Odd { .. } | Self::Refused { .. } | Self::Rejected { .. } => None,
        }
    }

    /// Whether other requests would fail too.
    pub(super) fn is_about_the_upstream(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Rejected { .. })
    }

    /// How long the upstream asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. }
            | Self::Absent { retry_after, .. }
            | Self::Broken { retry_after, .. } => *retry_after,
            Self::HeldBack(wait) => Some(wait.retry_after),
            Self::HungUp { .. } | Self::Odd { .. } | Self::Refused { .. } | Self::Rejected { .. } => None,
        }
    }

    /// The same error with this wait.
    #[must_use]
    pub(super) fn again_after(self, wait: Duration) -> Self {
        let retry_after = Some(wait);
        match self {
            Self::Busy { status, .. } => Self::Busy { status, retry_after },
            Self::Absent { cause, taken, .. } => Self::Absent { cause, retry_after, taken },
            other => other,
        }
    }

    /// The outcome in metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "busy",
            Self::Absent { .. } | Self::HungUp { .. } => "absent",
            Self::HeldBack(_) => "held_back",
            Self::Broken { .. } | Self::Odd { .. } => "failed",
            Self::Refused { .. } => "refused",
            Self::Rejected { .. } => "rejected",
        }
    }

    /// The outcome in metrics, if the response had begun.
    pub(super) fn outcome_after_the_first_byte(&self) -> &'static str {
        match self {
            Self::Broken { .. } => "broken_off",
            _ => self.outcome(),
        }
    }
}

/// The error for the worker.
impl From<UpstreamError> for ModelError {
    fn from(fault: UpstreamError) -> Self {
        let retry_after = fault.retry_after().unwrap_or_default();
        match fault {
            UpstreamError::Busy { .. } | UpstreamError::HeldBack(Wait { away: Away::Busy, .. }) => {
                Self::Busy { retry_after }
            }
            UpstreamError::Absent { cause, .. } | UpstreamError::HungUp { cause } => {
                Self::Absent { retry_after, cause }
            }
            UpstreamError::HeldBack(Wait { away: Away::Absent(cause), .. }) => {
                Self::Absent { retry_after, cause: cause.into() }
            }
            UpstreamError::Broken { cause, .. } => Self::Unavailable(cause),
            UpstreamError::Odd { cause } => Self::Unavailable(cause.into()),
            UpstreamError::Refused { status } => Self::Rejected {
                message: format!(
                    "the upstream of this model does not accept requests from this server (it answered {status}). \
                     Your request is not the reason: tell the operator of this server"
                ),
            },
            UpstreamError::Rejected { status: _, message } => Self::Rejected { message },
        }
    }
}

/// For the log, without anything of the request or of the upstream's message about it.
impl std::fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy { status, retry_after: Some(wait) } => {
                write!(f, "it answered {status}, come back in {wait:?}")
            }
            Self::Absent { cause, .. } | Self::Broken { cause, .. } | Self::HungUp { cause } => {
                f.write_str(&explain(&**cause))
            }
            Self::HeldBack(Wait { away: Away::Busy, .. }) => f.write_str("it is busy"),
            Self::HeldBack(Wait { away: Away::Absent(cause), .. }) | Self::Odd { cause } => {
                f.write_str(cause)
            }
            Self::Refused { status } => {
                write!(f, "it answered {status}: its key, its quota or its URL is wrong")
            }
            Self::Busy { status, retry_after: None } | Self::Rejected { status, message: _ } => {
                write!(f, "it answered {status}")
            }
        }
    }
}

/// An upstream's message in one line, of bounded length and without the key.
pub(super) fn presentable(words: &str, key: Option<&Key>) -> String {
    let words = key.map_or_else(|| words.to_owned(), |key| key.hide(words));
    let blank = |c: char| c.is_whitespace() || c.is_control();
    let words = words.split(blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    words.chars().take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, words: Option<&str>) -> UpstreamError {
        let error_body = words.map(|words| ErrorBody::Text(words.into()));
        let key = Key::new("sk-secret").unwrap();
        UpstreamError::of(StatusCode::from_u16(status).unwrap(), error_body.as_ref(), None, Some(&key))
    }

    #[test]
    fn what_is_about_the_request_reaches_the_caller_without_the_key() {
        for status in [400, 404, 413, 422] {
            let fault = fault(status, Some("context is\n9412 tokens, limit 8192 (sk-secret)"));
            assert!(fault.away().is_none() && !fault.to_string().contains("9412"), "{status}");
            let ModelError::Rejected { message } = fault.into() else { panic!("{status}") };
            assert_eq!(message, "context is 9412 tokens, limit 8192 ((key))");
        }
        let ModelError::Rejected { message } = fault(400, None).into() else { panic!() };
        assert_eq!(message, "the upstream answered 400 Bad Request");
    }

    #[test]
    fn what_is_about_us_is_not_the_callers_to_read() {
        for status in [401, 402, 403, 405, 407] {
            let fault =
                fault(status, Some("Incorrect API key provided: sk-se*ret. Quota of org-7 is used up."));
            let ModelError::Rejected { message } = fault.into() else { panic!("{status}") };
            assert!(message.contains(&status.to_string()), "{message}");
            assert!(!message.contains("sk-se") && !message.contains("org-7"), "{message}");
        }
    }

    #[test]
    fn only_a_request_that_was_taken_and_broke_costs_an_attempt() {
        for status in [429, 503, 529] {
            assert!(matches!(fault(status, None).into(), ModelError::Busy { .. }), "{status}");
        }
        for status in [408, 409, 425, 502, 504, 521, 522, 523] {
            let ModelError::Absent { cause, .. } = fault(status, Some("no\nroute")).into() else {
                panic!("{status}")
            };
            assert!(cause.to_string().ends_with(": no route"), "{cause}");
        }
        for status in [200, 204, 302, 500, 501, 520, 524, 599] {
            assert!(matches!(fault(status, None).into(), ModelError::Unavailable(_)), "{status}");
        }
    }

    #[test]
    fn the_time_to_wait_is_passed_on() {
        let wait = Duration::from_secs(7);
        for status in [429, 502] {
            let (ModelError::Busy { retry_after } | ModelError::Absent { retry_after, .. }) =
                ModelError::from(fault(status, None).again_after(wait))
            else {
                panic!("{status}")
            };
            assert_eq!(retry_after, wait, "{status}");
        }
    }

    #[test]
    fn what_an_upstream_says_is_one_line_of_bounded_length() {
        let words = presentable(&"é".repeat(MAX_WORDS + 1), None);
        assert_eq!(words, "é".repeat(MAX_WORDS));
        assert_eq!(presentable(" a\r\n\tb\0c ", None), "a b c");
    }
}
