//! The summary of a compacted conversation, as an item that clients keep and send back.
//!
//! The format calls the content encrypted. Here it is only encoded. It contains the summary, so the server stores nothing. The
//! client may read it: it has the whole conversation. Forging one gains nothing: the same text can be sent as a message.
//!
//! ```text
//! tokenwire-1.  base64url( the first 8 bytes of SHA-256 of the summary, the summary )
//! ```
//!
//! The hash detects content that was cut. Clients keep these for years: a new form has a new number.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use tokenwire_core::Message;

/// The longest summary, in bytes: a quarter of the limit for a conversation, so that the conversation can continue.
pub(super) const MAX_BYTES: usize = 64 * 1024;

const MAKER: &str = "tokenwire-";
const FORM: &str = "tokenwire-1.";
const HASH: usize = 8;

/// The summary as opaque content.
pub(super) fn encode(summary: &str) -> String {
    let mut content = String::from(FORM);
    URL_SAFE_NO_PAD.encode_string([&hash(summary), summary.as_bytes()].concat(), &mut content);
    content
}

/// The summary in opaque content. The error is a message for the caller.
pub(super) fn decode(content: &str) -> Result<String, &'static str> {
    let broken = "is broken: send the item as it was given";
    let Some(encoded) = content.strip_prefix(FORM) else {
        return Err(if content.starts_with(MAKER) {
            "was made by a newer server"
        } else {
            "was not made here: only what POST /v1/responses/compact gave is understood"
        });
    };
    if encoded.len() > base64::encoded_len(HASH + MAX_BYTES, false).unwrap_or(usize::MAX) {
        return Err(broken);
    }
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| broken)?;
    let (found, summary) = bytes.split_first_chunk::<HASH>().ok_or(broken)?;
    let summary = std::str::from_utf8(summary).map_err(|_| broken)?;
    if *found == hash(summary) { Ok(summary.to_owned()) } else { Err(broken) }
}

/// The message that a model reads instead, in the assistant's role.
pub(super) fn message(summary: &str) -> Message {
    Message::assistant(format!("What was said so far, in short:\n\n{summary}"))
}

fn hash(summary: &str) -> [u8; HASH] {
    *Sha256::digest(summary).first_chunk().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_summary_is_read_as_it_was_given_out_also_by_later_versions() {
        // Clients keep these for longer than this version lives: this literal stays readable.
        let content = "tokenwire-1.aLtXOXI6NuhUaGUgbGF1bmNoIGlzIG9uIFR1ZXNkYXku";
        assert_eq!(decode(content), Ok("The launch is on Tuesday.".to_owned()));
        assert_eq!(encode("The launch is on Tuesday."), content);
    }

    #[test]
    fn what_is_no_summary_of_ours_is_said_so() {
        let content = encode(&"x".repeat(MAX_BYTES));
        assert!(decode(&content).is_ok());
        assert!(decode(&encode(&"x".repeat(MAX_BYTES + 1))).unwrap_err().contains("broken"));
        for (content, what) in [
            ("gAAAAABm", "not made here"),
            ("", "not made here"),
            ("tokenwire-2.AAAA", "newer"),
            ("tokenwire-1.", "broken"),
            ("tokenwire-1.!", "broken"),
            (&content[..content.len() - 4], "broken"),
        ] {
            assert!(decode(content).unwrap_err().contains(what), "{content}");
        }
    }

    proptest! {
        #[test]
        fn every_summary_comes_back(summary in ".{0,200}") {
            prop_assert_eq!(decode(&encode(&summary)), Ok(summary));
        }

        #[test]
        fn no_content_makes_the_reader_panic(content in "(tokenwire-1\\.)?[a-zA-Z0-9_-]{0,40}") {
            let _ = decode(&content);
        }
    }
}
