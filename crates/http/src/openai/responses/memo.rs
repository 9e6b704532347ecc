//! What is kept with a stream so that any replica can show its response again: the request, as it is shown.
//!
//! Stored for a day or more and read by other versions: a new field has a default, and a form that older versions could not
//! read has a new number.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokenwire_core::{Message, ModelName, token_log::StreamSpec};

use super::super::error::ApiError;
use crate::error::Error;

const VERSION: u32 = 1;

/// One request for a response.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memo {
    /// `None` where another front end asked: it is not known here.
    #[serde(default)]
    pub(super) model: Option<ModelName>,
    #[serde(default)]
    pub(super) background: bool,
    #[serde(default = "yes")]
    pub(super) store: bool,
    #[serde(default)]
    pub(super) instructions: Option<String>,
    #[serde(default)]
    pub(super) previous_response_id: Option<String>,
    /// What was said before this input, without instructions: those of an earlier request are no part of a later one.
    /// Kept whole rather than looked up, so that a conversation may go on longer than its first part is kept.
    #[serde(default)]
    pub(super) before: Vec<Message>,
    /// The items of the input, without ids.
    #[serde(default)]
    pub(super) input: Vec<Value>,
    /// Fields of the resource that repeat the request, by name.
    #[serde(default)]
    pub(super) echo: Map<String, Value>,
}

const fn yes() -> bool {
    true
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    response: T,
}

impl Memo {
    /// Whether reasoning is told as a summary of it: whenever the resource says that one was asked for.
    pub(super) fn asks_for_a_summary(&self) -> bool {
        let reasoning = self.echo.get("reasoning");
        reasoning.and_then(|asked| asked.get("summary")).is_some_and(Value::is_string)
    }

    pub(super) fn to_bytes(&self) -> Result<Bytes, ApiError> {
        let memo = serde_json::to_vec(&Versioned { version: VERSION, response: self })
            .expect("our own types have string keys");
        if memo.len() > StreamSpec::MAX_MEMO_BYTES {
            let message =
                format!("input is too large to be kept: {} bytes at most", StreamSpec::MAX_MEMO_BYTES);
            return Err(ApiError::invalid("input".to_owned(), message));
        }
        Ok(memo.into())
    }

    /// A stream of another front end has none, and is shown without what it was asked.
    pub(super) fn read(memo: &[u8]) -> Result<Self, Error> {
        if memo.is_empty() {
            return Ok(Self { store: true, ..Self::default() });
        }
        let unreadable = |error: serde_json::Error| Error::Unavailable(error.into());
        let Versioned { version, response } =
            serde_json::from_slice::<Versioned<Value>>(memo).map_err(unreadable)?;
        if version != VERSION {
            return Err(Error::Unavailable(format!("a response of the newer form {version}").into()));
        }
        serde_json::from_value(response).map_err(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_kept_also_by_later_versions() {
        // Stored in logs that outlive this version: this literal stays readable.
        let kept = json!({"version": 1, "response": {
            "model": "large", "background": true, "store": true, "instructions": "Be brief.",
            "previous_response_id": "resp_1", "before": [{"role": "user", "content": "a"}],
            "input": [{"type": "message"}], "echo": {"metadata": {"a": "b"}},
        }});
        let memo = Memo::read(kept.to_string().as_bytes()).unwrap();
        assert_eq!(memo.before, [Message::user("a")]);
        assert_eq!(serde_json::from_slice::<Value>(&memo.to_bytes().unwrap()).unwrap(), kept);
        let little = Memo::read(br#"{"version": 1, "response": {}, "later": 1}"#).unwrap();
        assert_eq!(little, Memo::read(b"").unwrap());
        assert!(little.store && !little.background && little.model.is_none());
    }

    #[test]
    fn a_summary_was_asked_for_if_the_resource_says_so() {
        let asks = |echo: Value| {
            let memo = json!({"version": 1, "response": {"echo": echo}});
            Memo::read(memo.to_string().as_bytes()).unwrap().asks_for_a_summary()
        };
        assert!(asks(json!({"reasoning": {"effort": null, "summary": "auto"}})));
        // Versions that knew no summaries kept this, whatever was asked for.
        assert!(!asks(json!({"reasoning": {"effort": "low", "summary": null}})));
        assert!(!asks(json!({})) && !Memo::default().asks_for_a_summary());
    }

    #[test]
    fn what_cannot_be_read_or_kept_is_said_so() {
        for memo in ["a", "{}", r#"{"version": 2, "response": {}}"#, r#"{"version": 1, "response": 1}"#] {
            assert!(matches!(Memo::read(memo.as_bytes()), Err(Error::Unavailable(_))), "{memo}");
        }
        let input = vec![Value::from("a".repeat(StreamSpec::MAX_MEMO_BYTES))];
        assert!(Memo { input, ..Memo::default() }.to_bytes().is_err());
    }
}
