//! The metadata of a stream, from which any replica can show its response again: the request.
//!
//! It is stored for a day or more and read by other versions. A new field has a default, and a form that older versions cannot
//! read has a new number.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokenwire_core::{Message, ModelName};

use crate::front::{
    metadata::{self, Form},
    problem::Problem,
};

const FORM: Form = Form { front: "responses", version: 1 };

/// One request for a response.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ResponseMetadata {
    /// `None` for a stream of another front end.
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
    /// The conversation before this input, without the instructions of earlier requests. Stored as a copy, so that a
    /// conversation can outlive its first responses.
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

impl ResponseMetadata {
    /// Whether reasoning is shown as a summary: when the request asked for one.
    pub(super) fn asks_for_a_summary(&self) -> bool {
        let reasoning = self.echo.get("reasoning");
        reasoning.and_then(|asked| asked.get("summary")).is_some_and(Value::is_string)
    }

    pub(super) fn to_bytes(&self) -> Result<Bytes, Problem> {
        let too_large = || {
            let message = format!("input is too large to be kept: {} bytes at most", metadata::MAX_BYTES);
            Problem { message, ..Problem::invalid_field("input", "") }
        };
        FORM.write(self).ok_or_else(too_large)
    }

    /// A stream of another front end is shown without its request.
    pub(super) fn read(metadata: &[u8]) -> Result<Self, Problem> {
        Ok(FORM.read(metadata)?.unwrap_or_else(|| Self { store: true, ..Self::default() }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_kept_also_by_later_versions() {
        // Logs keep this for longer than this version lives: this literal stays readable.
        let kept = json!({"version": 1, "response": {
            "model": "large", "background": true, "store": true, "instructions": "Be brief.",
            "previous_response_id": "resp_1", "before": [{"role": "user", "content": "a"}],
            "input": [{"type": "message"}], "echo": {"metadata": {"a": "b"}},
        }});
        let metadata = ResponseMetadata::read(kept.to_string().as_bytes()).unwrap();
        assert_eq!(metadata.before, [Message::user("a")]);
        let mut written: Value = serde_json::from_slice(&metadata.to_bytes().unwrap()).unwrap();
        assert_eq!(written.as_object_mut().unwrap().remove("front").unwrap(), "responses");
        assert_eq!(written, kept);
        let little = ResponseMetadata::read(br#"{"version": 1, "response": {}, "later": 1}"#).unwrap();
        assert_eq!(little, ResponseMetadata::read(b"").unwrap());
        assert!(little.store && !little.background && little.model.is_none());
    }

    #[test]
    fn a_summary_was_asked_for_if_the_resource_says_so() {
        let asks = |echo: Value| {
            let metadata = json!({"version": 1, "response": {"echo": echo}});
            ResponseMetadata::read(metadata.to_string().as_bytes()).unwrap().asks_for_a_summary()
        };
        assert!(asks(json!({"reasoning": {"effort": null, "summary": "auto"}})));
        // Versions without summaries stored this for every request.
        assert!(!asks(json!({"reasoning": {"effort": "low", "summary": null}})));
        assert!(!asks(json!({})) && !ResponseMetadata::default().asks_for_a_summary());
    }

    #[test]
    fn what_cannot_be_read_or_kept_is_said_so() {
        for metadata in ["a", "{}", r#"{"version": 2, "response": {}}"#, r#"{"version": 1, "response": 1}"#] {
            assert!(
                ResponseMetadata::read(metadata.as_bytes())
                    .is_err_and(|problem| problem.code == "unavailable"),
                "{metadata}"
            );
        }
        let input = vec![Value::from("a".repeat(metadata::MAX_BYTES))];
        assert!(ResponseMetadata { input, ..ResponseMetadata::default() }.to_bytes().is_err());
    }
}
