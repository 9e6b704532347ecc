//! Entity tags: a client names the version of a file that it already has.

use axum::http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

/// A strong tag: other bytes have another tag.
pub(crate) fn of(bytes: &[u8]) -> HeaderValue {
    // Half of the hash is enough to distinguish versions.
    let half = Sha256::digest(bytes).iter().take(16).fold(0_u128, |half, &byte| half << 8 | u128::from(byte));
    HeaderValue::try_from(format!("\"{half:032x}\"")).expect("hexadecimal digits are plain ASCII")
}

/// Whether the client already has the file with this tag.
pub(crate) fn is_known(etag: &HeaderValue, headers: &HeaderMap) -> bool {
    headers.get(header::IF_NONE_MATCH).is_some_and(|known| matches(known, etag))
}

/// Whether a list of tags contains this one. A proxy that compresses the file makes the tag weak (`W/`).
fn matches(known: &HeaderValue, etag: &HeaderValue) -> bool {
    let Ok(known) = known.to_str() else { return false };
    known.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == "*" || tag == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_has_the_file_is_told_so() {
        let tag = of(b"file");
        let plain = tag.to_str().unwrap();
        for known in ["*", plain, &format!("\"other\", W/{plain}")] {
            assert!(matches(&known.parse().unwrap(), &tag), "{known}");
        }
        assert!(!matches(&of(b"other"), &tag));
    }
}
