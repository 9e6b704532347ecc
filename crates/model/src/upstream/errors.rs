//! Why an upstream gave no answer, or not all of it, and what follows from that.
//!
//! What an upstream says about a request is for the caller, without the key. What it says about us (key, quota, URL) is for
//! whoever runs Tokenwire: the caller is told that it is not about the request, and the log has the rest.

use std::time::Duration;

use reqwest::StatusCode;
use tokenwire_core::{BoxError, model::ModelError};

use super::{config::Key, wire::Complaint};

/// When to come back to an upstream that is busy and does not say for how long.
const BUSY_AGAIN: Duration = Duration::from_secs(5);

/// The longest that a job waits because an upstream says so: it may be wrong, and other replicas may be free sooner.
const MOST_BUSY: Duration = Duration::from_secs(300);

/// The most of an upstream's own words that is passed on, in characters.
const MAX_WORDS: usize = 500;

/// What became of one request.
#[derive(Debug)]
pub(super) enum Fault {
    /// There is no room now.
    Busy { status: StatusCode, retry_after: Option<Duration> },
    /// It cannot be reached, or it failed.
    Broken { cause: BoxError, retry_after: Option<Duration> },
    /// It closed the connection without a word.
    HungUp { cause: BoxError },
    /// It is there and does not do what it should: asking again at once would give the same.
    Odd { cause: String },
    /// It does not want us: key, quota or URL.
    Refused { status: StatusCode },
    /// It will never answer this request.
    Rejected { status: StatusCode, message: String },
}

impl Fault {
    /// It failed for this reason.
    pub(super) fn broken(cause: impl Into<BoxError>) -> Self {
        Self::Broken { cause: cause.into(), retry_after: None }
    }

    /// What an answer with this status means.
    pub(super) fn of(
        status: StatusCode,
        complaint: Option<&Complaint>,
        retry_after: Option<Duration>,
        key: Option<&Key>,
    ) -> Self {
        let words = complaint.and_then(Complaint::message).map(|words| presentable(words, key));
        match status.as_u16() {
            // 529 is some services' own word for a 503.
            429 | 503 | 529 => Self::Busy { status, retry_after },
            400 | 404 | 413 | 422 => {
                let message = words.unwrap_or_else(|| format!("the upstream answered {status}"));
                Self::Rejected { status, message }
            }
            408 | 409 | 425 | 500.. => {
                let said = words.map(|words| format!(": {words}")).unwrap_or_default();
                Self::Broken { cause: format!("the upstream answered {status}{said}").into(), retry_after }
            }
            401..500 => Self::Refused { status },
            _ => Self::Odd { cause: format!("the upstream answered {status} where an answer was expected") },
        }
    }

    /// Whether the same request may be answered in a moment, here or by another replica.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Broken { .. } | Self::HungUp { .. })
    }

    /// Whether other requests would meet the same.
    pub(super) fn is_about_the_upstream(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Rejected { .. })
    }

    /// How long the upstream wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } | Self::Broken { retry_after, .. } => *retry_after,
            Self::HungUp { .. } | Self::Odd { .. } | Self::Refused { .. } | Self::Rejected { .. } => None,
        }
    }

    /// One word for metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "busy",
            Self::Broken { .. } | Self::HungUp { .. } | Self::Odd { .. } => "failed",
            Self::Refused { .. } => "refused",
            Self::Rejected { .. } => "rejected",
        }
    }

    /// The same, for an answer that had begun.
    pub(super) fn outcome_after_the_first_byte(&self) -> &'static str {
        match self {
            Self::Broken { .. } | Self::HungUp { .. } => "broken_off",
            Self::Busy { .. } | Self::Odd { .. } | Self::Refused { .. } | Self::Rejected { .. } => {
                self.outcome()
            }
        }
    }
}

/// What the worker decides by.
impl From<Fault> for ModelError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy { status: _, retry_after } => {
                Self::Busy { retry_after: retry_after.unwrap_or(BUSY_AGAIN).min(MOST_BUSY) }
            }
            Fault::Broken { cause, retry_after: _ } | Fault::HungUp { cause } => Self::Unavailable(cause),
            Fault::Odd { cause } => Self::Unavailable(cause.into()),
            Fault::Refused { status } => Self::Rejected {
                message: format!(
                    "the model's upstream does not serve this server (it answered {status}): tell whoever runs it"
                ),
            },
            Fault::Rejected { status: _, message } => Self::Rejected { message },
        }
    }
}

/// For the log: nothing of the request is in it, and so not what the upstream says about the request.
impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy { status, retry_after: Some(wait) } => {
                write!(f, "it answered {status}, come back in {wait:?}")
            }
            Self::Broken { cause, retry_after: _ } | Self::HungUp { cause } => {
                f.write_str(&tokenwire_core::explain(&**cause))
            }
            Self::Odd { cause } => f.write_str(cause),
            Self::Refused { status } => {
                write!(f, "it answered {status}: its key, its quota or its URL is wrong")
            }
            Self::Busy { status, retry_after: None } | Self::Rejected { status, message: _ } => {
                write!(f, "it answered {status}")
            }
        }
    }
}

/// An upstream's own words in one line, of a bounded length and without the key.
pub(super) fn presentable(words: &str, key: Option<&Key>) -> String {
    let words = key.map_or_else(|| words.to_owned(), |key| key.hide(words));
    let blank = |c: char| c.is_whitespace() || c.is_control();
    let words = words.split(blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    words.chars().take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, words: Option<&str>) -> Fault {
        let complaint = words.map(|words| Complaint::Text(words.into()));
        let key = Key::new("sk-secret").unwrap();
        Fault::of(StatusCode::from_u16(status).unwrap(), complaint.as_ref(), None, Some(&key))
    }

    #[test]
    fn what_is_about_the_request_reaches_the_caller_without_the_key() {
        for status in [400, 404, 413, 422] {
            let fault = fault(status, Some("context is\n9412 tokens, limit 8192 (sk-secret)"));
            assert!(!fault.is_passing() && !fault.to_string().contains("9412"), "{status}");
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
    fn what_may_pass_is_tried_again() {
        for status in [408, 409, 425, 429, 500, 502, 503, 504, 529] {
            assert!(fault(status, None).is_passing(), "{status}");
        }
        for status in [429, 503, 529] {
            let error = ModelError::from(fault(status, None));
            assert!(matches!(error, ModelError::Busy { retry_after: BUSY_AGAIN }), "{status}");
        }
        for status in [200, 204, 302, 408, 409, 425, 500, 502, 504] {
            assert!(matches!(fault(status, None).into(), ModelError::Unavailable(_)), "{status}");
        }
    }

    #[test]
    fn an_upstream_cannot_send_a_job_away_for_good() {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let fault = Fault::Busy { status, retry_after: Some(Duration::from_secs(1_000_000)) };
        assert!(matches!(fault.into(), ModelError::Busy { retry_after: MOST_BUSY }));
    }

    #[test]
    fn what_an_upstream_says_is_one_line_of_bounded_length() {
        let words = presentable(&"é".repeat(MAX_WORDS + 1), None);
        assert_eq!(words, "é".repeat(MAX_WORDS));
        assert_eq!(presentable(" a\r\n\tb\0c ", None), "a b c");
    }
}
