//! `Idempotency-Key`: a repeated call finds the generation of the first.
//!
//! The generation's id is derived from the key, so every replica agrees on it and nothing more is stored. The same key on
//! different paths gives different ids. There are no accounts: a client that sends the same key and body gets the same answer.
//! So keys should be random, such as UUIDs.

use axum::http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use tokenwire_core::GenerationId;
use uuid::Builder;

use super::{
    describe::{header, parameters, text_like},
    problem::Problem,
};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest key, in bytes.
const MAX_BYTES: usize = 255;

parameters!(
    /// The key, for the OpenAPI document.
    IdempotencyKey,
    header(
        "Idempotency-Key",
        "Makes the call safe to repeat: the same key with the same request finds the same answer, with another request it is a \
         409. Any client that sends the key gets the answer, so use a random key.",
        text_like("^[!-~]{1,255}$"),
    ),
);

/// The id that is derived from the call's key; `None` without a key.
pub(crate) fn id(path: &str, headers: &HeaderMap) -> Result<Option<GenerationId>, Problem> {
    let mut keys = headers.get_all(HEADER).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let plain = key.as_bytes().iter().all(u8::is_ascii_graphic) && (1..=MAX_BYTES).contains(&key.len());
    if !plain || keys.next().is_some() {
        let what = format!("must be one text of 1 to {MAX_BYTES} letters, digits and signs");
        return Err(Problem::invalid_field("Idempotency-Key", what));
    }
    Ok(Some(derive(path, key.as_bytes())))
}

/// SHA-256 of path, a zero byte and key, its first 16 bytes marked as UUID version 8. Replicas of different versions must
/// agree, so this never changes.
fn derive(path: &str, key: &[u8]) -> GenerationId {
    let hash = Sha256::new().chain_update(path).chain_update([0]).chain_update(key).finalize();
    let bytes = *hash.first_chunk().expect("SHA-256 has 32 bytes");
    GenerationId::from_bytes(Builder::from_custom_bytes(bytes).into_uuid().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, keys: &[&str]) -> Result<Option<GenerationId>, Problem> {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(HEADER, key.parse().unwrap());
        }
        id(path, &headers)
    }

    #[test]
    fn a_key_is_the_same_id_for_ever_and_on_every_replica() {
        let id = of("/v1/chat/completions", &["order-1"]).unwrap().unwrap();
        assert_eq!(id.to_string(), "f3c0cb66-050c-81fe-9efd-2e94dffc99e7");
        assert_ne!(Some(id), of("/v1/chat/completions", &["order-2"]).unwrap());
        assert_ne!(Some(id), of("/v1/other", &["order-1"]).unwrap());
        assert_eq!(of("/v1/chat/completions", &[]).unwrap(), None);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "k".repeat(MAX_BYTES + 1);
        for keys in [&[""][..], &["a b"], &["é"], &["a", "a"], &[&long]] {
            assert!(of("/", keys).is_err(), "{keys:?}");
        }
    }
}
