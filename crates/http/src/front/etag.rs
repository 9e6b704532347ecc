//! Tags by which a client tells that it has a file already.

use axum::http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

/// A strong tag: other bytes have another.
pub(crate) fn of(bytes: &[u8]) -> HeaderValue {
    // Half of the hash tells any two versions apart.
    let half = Sha256::digest(bytes).iter().take(16).fold(0_u128, |half, &byte| half << 8 | u128::from(byte));
    HeaderValue::try_from(format!("\"{half:032x}\"")).expect("hexadecimal digits are plain ASCII")
}

/// Whether the client has what this tag is of.
pub(crate) fn is_known(etag: &HeaderValue, headers: &HeaderMap) -> bool {
    headers.get(header::IF_NONE_MATCH).is_some_and(|known| matches(known, etag))
}

/// Whether one of the tags that a client has is this one. A proxy that compressed the file has made it weak (`W/`).
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
