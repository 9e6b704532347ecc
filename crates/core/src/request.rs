//! A request to a model. Front ends build it from outside input and check it. It is not checked again.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    conversation::{Conversation, Message, ToolCall},
    error::ModelError,
    extras::Extras,
    sampling::Sampling,
};

/// The name of a model in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

impl ModelName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Checks and wraps a name: 1 to [`Self::MAX_BYTES`] bytes of letters, digits and `. _ : / -`.
    ///
    /// # Errors
    /// [`InvalidModelName`] for anything else; the message says what is allowed.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidModelName> {
        let name = name.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:/-".contains(&b);
        if name.is_empty() || name.len() > Self::MAX_BYTES || !name.bytes().all(allowed) {
            return Err(InvalidModelName);
        }
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for ModelName {
    type Error = InvalidModelName;
    fn try_from(name: String) -> Result<Self, InvalidModelName> {
        Self::new(name)
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0
    }
}

/// The text is not a model's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a model's name is 1 to {} letters, digits and . _ : / -", ModelName::MAX_BYTES)]
pub struct InvalidModelName;

/// Everything that determines an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerateRequest {
    /// The model. A front end resolves the default.
    pub model: ModelName,
    /// The messages.
    pub conversation: Conversation,
    /// The sampling options.
    pub sampling: Sampling,
    /// Fields that only some models understand.
    pub extras: Extras,
}

impl GenerateRequest {
    /// A request with default options.
    pub fn new(model: ModelName, conversation: Conversation) -> Self {
        Self { model, conversation, sampling: Sampling::default(), extras: Extras::default() }
    }

    /// For text-only models: rejects extra fields and messages about tools.
    ///
    /// # Errors
    /// [`ModelError::Rejected`]; the message names each of them.
    pub fn text_alone(&self) -> Result<(), ModelError> {
        let tools = self.conversation.messages().iter().any(Message::is_about_tools);
        let unknown: Vec<_> = self.extras.names().chain(tools.then_some("messages about tools")).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let message =
            format!("the model {} does not take {}: leave that out", self.model, unknown.join(", "));
        Err(ModelError::Rejected { message })
    }

    /// The stored form of a request in a stream: JSON with a version, `{"v":1,"model":…,"messages":[…],"sampling":{…},
    /// "extras":{…}}`. Messages, options and further fields have the forms that they have in a stored job.
    pub fn encode(&self) -> Bytes {
        let Self { model, conversation, sampling, extras } = self;
        let stored =
            RequestToStore { v: FORM_VERSION, model, messages: conversation.messages(), sampling, extras };
        serde_json::to_vec(&stored).expect("text and finite numbers always have a JSON form").into()
    }

    /// Reads what [`Self::encode`] of this or an earlier version returned.
    ///
    /// # Errors
    /// [`UnknownForm`]: a newer version wrote it, or it is not a stored request.
    pub fn decode(stored: &[u8]) -> Result<Self, UnknownForm> {
        let StoredRequest { v, model, messages, sampling, extras } =
            serde_json::from_slice(stored).map_err(|_| UnknownForm)?;
        if v != FORM_VERSION {
            return Err(UnknownForm);
        }
        let conversation = Conversation::new(messages).map_err(|_| UnknownForm)?;
        Ok(Self { model, conversation, sampling, extras })
    }

    /// The same for equal requests, on any replica and in any version: SHA-256 over texts, each with its length in front. The
    /// texts are the model and the content of the last message; then each earlier message as `message`, role and content;
    /// tool calls and results; each option that is set as its name and value; each extra field as `extra`, name and JSON. A
    /// field that is added later is hashed only when it does not have its default.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        part(self.model.as_str());
        part(self.conversation.prompt());
        for message in self.conversation.before() {
            part("message");
            part(message.role().as_str());
            part(message.content());
        }
        for (index, message) in self.conversation.messages().iter().enumerate() {
            if let Message::Tool { tool_call_id, .. } = message {
                ["tool", &index.to_string(), tool_call_id].into_iter().for_each(&mut part);
            }
            for ToolCall { id, name, arguments } in message.tool_calls() {
                ["tool_call", &index.to_string(), id, name, arguments].into_iter().for_each(&mut part);
            }
        }
        for (name, value) in self.sampling.given() {
            part(name);
            part(&value);
        }
        for (name, value) in self.extras.iter() {
            ["extra", name, &value.to_string()].into_iter().for_each(&mut part);
        }
        Fingerprint(hash.finalize().into())
    }
}

/// The version of the form in which a stream keeps its request.
const FORM_VERSION: u32 = 1;

#[derive(Serialize)]
struct RequestToStore<'a> {
    v: u32,
    model: &'a ModelName,
    messages: &'a [Message],
    #[serde(skip_serializing_if = "is_default")]
    sampling: &'a Sampling,
    #[serde(skip_serializing_if = "Extras::is_empty")]
    extras: &'a Extras,
}

fn is_default(sampling: &Sampling) -> bool {
    *sampling == Sampling::default()
}

#[derive(Deserialize)]
struct StoredRequest {
    v: u32,
    model: ModelName,
    messages: Vec<Message>,
    #[serde(default)]
    sampling: Sampling,
    #[serde(default)]
    extras: Extras,
}

/// The bytes are not a request that this version can read. They are private and not quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored request has a form that this version of tokenwire does not know: upgrade")]
pub struct UnknownForm;

/// The hash of a request. Equal exactly when the requests are equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// From the bytes that [`Self::as_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, for storage.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(model: &str, prompt: &str) -> GenerateRequest {
        GenerateRequest::new(ModelName::new(model).unwrap(), Conversation::of(prompt).unwrap())
    }

    #[test]
    fn fingerprints_tell_requests_apart_and_never_change() {
        let hello = request("simulated", "Hello");
        assert_eq!(hello.fingerprint(), request("simulated", "Hello").fingerprint());
        assert_ne!(hello.fingerprint(), request("simulated", "Hello ").fingerprint());
        assert_ne!(request("a", "bc").fingerprint(), request("ab", "c").fingerprint());
        // Stored in logs that outlive this version: these literals may never change.
        assert_eq!(
            hello.fingerprint().to_string(),
            "dbe9f8c03e046649d9fd9c63e3146bd37df43fab3fb5db049f75ba4806ed3afe"
        );
        let before = vec![Message::system("Be brief."), Message::user("1"), Message::assistant("2")];
        let long = GenerateRequest {
            conversation: Conversation::after(before, "Hello").unwrap(),
            sampling: serde_json::from_str(
                r#"{"temperature":0.8,"top_p":0.95,"top_k":40,"seed":7,"max_tokens":64,"stop":["a","b"]}"#,
            )
            .unwrap(),
            ..hello
        };
        assert_eq!(
            long.fingerprint().to_string(),
            "c0f981fd22ee06c570ec0c687606f8d0ca37aab747eecb484f104d34a0f13755"
        );
    }

    #[test]
    fn a_stored_request_is_written_and_read_like_this_for_ever() {
        let stored = r#"{"v":1,"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"q"}],"sampling":{"seed":7},"extras":{"tools":[1]}}"#;
        let request = GenerateRequest {
            conversation: Conversation::after(vec![Message::system("Be brief.")], "q").unwrap(),
            sampling: serde_json::from_str(r#"{"seed":7}"#).unwrap(),
            extras: serde_json::from_str(r#"{"tools":[1]}"#).unwrap(),
            ..request("m", "q")
        };
        assert_eq!(request.encode(), stored);
        assert_eq!(GenerateRequest::decode(stored.as_bytes()), Ok(request));
        let plain = self::request("m", "q");
        assert_eq!(GenerateRequest::decode(&plain.encode()), Ok(plain));
    }

    #[test]
    fn a_stored_request_of_a_newer_version_is_refused() {
        for stored in ["", "{}", r#"{"v":2,"model":"m","messages":[{"role":"user","content":"q"}]}"#] {
            assert_eq!(GenerateRequest::decode(stored.as_bytes()), Err(UnknownForm), "{stored}");
        }
    }

    fn called(id: &str) -> Message {
        let call = ToolCall { id: id.into(), name: "n".into(), arguments: "{}".into() };
        Message::Assistant { content: "a".into(), tool_calls: vec![call] }
    }

    #[test]
    fn whatever_a_model_may_look_at_makes_another_fingerprint() {
        let with = |before: Vec<Message>, sampling: &str| {
            let plain = request("m", "q");
            let conversation = Conversation::after(before, "q").unwrap();
            GenerateRequest { conversation, sampling: serde_json::from_str(sampling).unwrap(), ..plain }
        };
        let mut seen: Vec<_> = [
            with(vec![], "{}"),
            with(vec![Message::user("a")], "{}"),
            with(vec![Message::assistant("a")], "{}"),
            with(vec![Message::assistant("a"), Message::assistant("a")], "{}"),
            with(vec![Message::assistant("aa")], "{}"),
            with(vec![], r#"{"temperature":0}"#),
            with(vec![], r#"{"top_p":0}"#),
            with(vec![], r#"{"temperature":0.1}"#),
            with(vec![], r#"{"top_k":1}"#),
            with(vec![], r#"{"seed":1}"#),
            with(vec![], r#"{"max_tokens":1}"#),
            with(vec![], r#"{"stop":["1"]}"#),
            with(vec![], r#"{"stop":["1","1"]}"#),
            with(vec![called("1")], "{}"),
            with(vec![called("2")], "{}"),
            with(vec![Message::Tool { tool_call_id: "1".into(), content: "a".into() }], "{}"),
            with(vec![Message::Tool { tool_call_id: "2".into(), content: "a".into() }], "{}"),
            GenerateRequest {
                conversation: Conversation::new(vec![Message::Tool {
                    tool_call_id: "1".into(),
                    content: "q".into(),
                }])
                .unwrap(),
                ..request("m", "q")
            },
            GenerateRequest { extras: serde_json::from_str(r#"{"tools":[]}"#).unwrap(), ..request("m", "q") },
            GenerateRequest {
                extras: serde_json::from_str(r#"{"tools":[1]}"#).unwrap(),
                ..request("m", "q")
            },
        ]
        .map(|request| request.fingerprint().to_string())
        .into();
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }

    #[test]
    fn a_models_name_is_plain() {
        assert!(ModelName::new("org/Model-1.5:q4_1").is_ok());
        for name in ["", "a b", "a\n", "模型", &"x".repeat(129)] {
            assert_eq!(ModelName::new(name), Err(InvalidModelName), "{name:?}");
        }
    }
}
