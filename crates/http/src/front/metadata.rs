//! What a front end stores with a stream, readable on any replica: JSON with a tag for its front end and version.
//!
//! ```json
//! {"front": "responses", "version": 1, "response": {...}}
//! ```
//!
//! A front end that finds metadata of another one treats the stream as one that was begun elsewhere. Metadata without a tag
//! is the Responses API's: versions before 0.1.0 wrote only that. They read `version` and `response` and ignore other fields,
//! so the body is stored under `response` for as long as such a version may run beside this one.
//!
//! Stored for a day or more and read by other versions: a new field in a body has a default, and a form that older versions
//! could not read has a new number.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokenwire_core::token_log::StreamSpec;

use super::problem::Problem;

/// The largest metadata, in bytes.
pub(crate) const MAX_BYTES: usize = StreamSpec::MAX_METADATA_BYTES;

/// Metadata without a tag belongs to this front end.
const UNTAGGED: &str = "responses";

/// A form of metadata: its front end and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) front: &'static str,
    pub(crate) version: u32,
}

#[derive(Serialize)]
struct Written<'a, T> {
    front: &'a str,
    version: u32,
    #[serde(rename = "response")]
    body: &'a T,
}

#[derive(Deserialize)]
struct Stored {
    front: Option<String>,
    version: u32,
    #[serde(alias = "response")]
    body: Value,
}

impl Form {
    /// The body as it is stored. `None` when it is larger than [`MAX_BYTES`].
    pub(crate) fn write(self, body: &impl Serialize) -> Option<Bytes> {
        let Self { front, version } = self;
        let bytes =
            serde_json::to_vec(&Written { front, version, body }).expect("our own types have string keys");
        (bytes.len() <= MAX_BYTES).then(|| bytes.into())
    }

    /// The body. `None` when the stream has no metadata, or that of another front end. A newer version and unreadable metadata
    /// are server errors: another replica may be able to read them.
    pub(crate) fn read<T: DeserializeOwned>(self, metadata: &[u8]) -> Result<Option<T>, Problem> {
        if metadata.is_empty() {
            return Ok(None);
        }
        let unreadable = |error: serde_json::Error| Problem::unavailable(error);
        let Stored { front, version, body } = serde_json::from_slice(metadata).map_err(unreadable)?;
        let front = front.as_deref().unwrap_or(UNTAGGED);
        if front != self.front {
            return Ok(None);
        }
        if version != self.version {
            let what =
                format!("the metadata of a stream has version {version}, and {} is known here", self.version);
            return Err(Problem::unavailable(what));
        }
        serde_json::from_value(body).map(Some).map_err(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RESPONSES: Form = Form { front: "responses", version: 1 };
    const OTHER: Form = Form { front: "other", version: 1 };

    #[test]
    fn metadata_without_a_tag_belongs_to_the_responses_api() {
        // As versions before 0.1.0 stored it: this literal stays readable.
        let untagged = br#"{"version":1,"response":{"store":true}}"#;
        assert_eq!(RESPONSES.read(untagged).unwrap(), Some(json!({"store": true})));
        assert_eq!(OTHER.read::<Value>(untagged).unwrap(), None);
    }

    #[test]
    fn the_version_before_reads_what_is_written_now() {
        // A copy of what that version reads into.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
            response: Value,
        }
        let stored = RESPONSES.write(&json!({"store": true})).unwrap();
        let Versioned { version, response } = serde_json::from_slice(&stored).unwrap();
        assert_eq!((version, response), (1, json!({"store": true})));
        assert_eq!(RESPONSES.read(&stored).unwrap(), Some(json!({"store": true})));
    }

    #[test]
    fn metadata_of_another_front_end_of_any_version_and_none_are_as_good_as_none() {
        let other = Form { version: 7, ..OTHER }.write(&json!([1])).unwrap();
        let later = br#"{"front":"other","version":2,"body":1,"later":1}"#;
        for metadata in [&other[..], later, b""] {
            assert_eq!(RESPONSES.read::<Value>(metadata).unwrap(), None);
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_server_error_and_what_is_too_large_is_not_written() {
        for metadata in ["a", "{}", r#"{"version":2,"response":{}}"#, r#"{"version":1,"response":1}"#] {
            let read = RESPONSES.read::<std::collections::BTreeMap<String, Value>>(metadata.as_bytes());
            assert_eq!(read.unwrap_err().code, "unavailable", "{metadata}");
        }
        assert!(RESPONSES.write(&"a".repeat(MAX_BYTES)).is_none());
    }
}
