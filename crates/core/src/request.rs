//! What a caller asks for. Built at the edge from outside input and checked there; past it nothing is checked again.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The name under which the catalogue knows a model.
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

/// What the model is asked to go on from: some text, not blank, of bounded size.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prompt(String);

impl Prompt {
    /// The longest prompt, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// Checks and wraps a text; it is kept exactly as given.
    ///
    /// # Errors
    /// [`InvalidPrompt`] when it is blank or too long.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidPrompt> {
        let text = text.into();
        if text.trim().is_empty() {
            return Err(InvalidPrompt::Blank);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidPrompt::TooLong { bytes: text.len() });
        }
        Ok(Self(text))
    }

    /// The text, as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Prompts are private: a log line that prints a request by accident shows its size only.
impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prompt({} bytes)", self.0.len())
    }
}

impl TryFrom<String> for Prompt {
    type Error = InvalidPrompt;
    fn try_from(text: String) -> Result<Self, InvalidPrompt> {
        Self::new(text)
    }
}

impl From<Prompt> for String {
    fn from(prompt: Prompt) -> Self {
        prompt.0
    }
}

/// The text cannot be a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrompt {
    /// Nothing but white space.
    #[error("is empty: write what you want to ask")]
    Blank,
    /// More than [`Prompt::MAX_BYTES`].
    #[error("is {bytes} bytes long, the limit is {}: shorten it", Prompt::MAX_BYTES)]
    TooLong {
        /// Its size in bytes of UTF-8.
        bytes: usize,
    },
}

/// Everything that decides what a model says. Two equal requests ask the same thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// Which model, by its name in the catalogue. Always resolved: a default is chosen at the edge.
    pub model: ModelName,
    /// What it is asked.
    pub prompt: Prompt,
}

impl GenerateRequest {
    /// Tells equal requests from different ones, on any replica and across versions: SHA-256 over each field, its length
    /// first. A field added later is hashed only when it does not have its default.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for part in [self.model.as_str(), self.prompt.as_str()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Fingerprint(hash.finalize().into())
    }
}

/// The identity of a request's content: equal exactly when the requests are.
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
        GenerateRequest { model: ModelName::new(model).unwrap(), prompt: Prompt::new(prompt).unwrap() }
    }

    #[test]
    fn fingerprints_tell_requests_apart_and_never_change() {
        let hello = request("simulated", "Hello");
        assert_eq!(hello.fingerprint(), request("simulated", "Hello").fingerprint());
        assert_ne!(hello.fingerprint(), request("simulated", "Hello ").fingerprint());
        assert_ne!(request("a", "bc").fingerprint(), request("ab", "c").fingerprint());
        // Stored in logs that outlive this version: this literal may never change.
        assert_eq!(
            hello.fingerprint().to_string(),
            "dbe9f8c03e046649d9fd9c63e3146bd37df43fab3fb5db049f75ba4806ed3afe"
        );
    }

    #[test]
    fn a_prompt_is_kept_exactly_and_never_printed() {
        let prompt = Prompt::new("  two\nlines ").unwrap();
        assert_eq!(prompt.as_str(), "  two\nlines ");
        assert_eq!(format!("{prompt:?}"), "Prompt(12 bytes)");
    }

    #[test]
    fn blank_and_over_long_prompts_are_refused() {
        assert_eq!(Prompt::new(" \n\t"), Err(InvalidPrompt::Blank));
        let long = "é".repeat(Prompt::MAX_BYTES / 2 + 1);
        assert_eq!(Prompt::new(long), Err(InvalidPrompt::TooLong { bytes: Prompt::MAX_BYTES + 2 }));
        assert!(Prompt::new("x".repeat(Prompt::MAX_BYTES)).is_ok());
    }

    #[test]
    fn a_models_name_is_plain() {
        assert!(ModelName::new("org/Model-1.5:q4_1").is_ok());
        for name in ["", "a b", "a\n", "模型", &"x".repeat(129)] {
            assert_eq!(ModelName::new(name), Err(InvalidModelName), "{name:?}");
        }
    }
}
