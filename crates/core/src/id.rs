//! The id of a generation: one id for the job, the stream and the public resource.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a generation: chosen by the client, or a new UUIDv7. It is never reused while its stream is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GenerationId(Uuid);

impl GenerationId {
    /// A new id. New ids sort by time.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id with these 16 bytes, as [`Self::as_bytes`] gave them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of the UUID, for compact storage.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for GenerationId {
    type Err = InvalidId;

    /// Accepts every usual spelling of a UUID: upper case, without hyphens, in braces, URN.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId)
    }
}

/// The text is not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID: write it like 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3")]
pub struct InvalidId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_uuid_names_the_same_generation() {
        let id: GenerationId = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap();
        for spelling in ["0192F0C1-2D3E-7A4B-8C5D-6E7F8091A2B3", "0192f0c12d3e7a4b8c5d6e7f8091a2b3"] {
            assert_eq!(spelling.parse(), Ok(id));
        }
        assert_eq!(id.to_string(), "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3");
        assert_eq!(GenerationId::from_bytes(*id.as_bytes()), id);
    }

    #[test]
    fn what_is_not_a_uuid_is_refused() {
        for text in
            ["", "42", "0192f0c1-2d3e-7a4b-8c5d", "../etc/passwd", "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2bg"]
        {
            assert_eq!(text.parse::<GenerationId>(), Err(InvalidId), "{text:?}");
        }
    }

    #[test]
    fn fresh_ids_sort_by_age() {
        let ids: Vec<_> = (0..100).map(|_| GenerationId::fresh()).collect();
        assert!(ids.is_sorted());
    }
}
