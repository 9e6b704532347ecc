//! The messages that `append.lua` publishes: the epoch of the stream in digits, a space, and the stored batch.
//!
//! The epoch is needed because an id can be reused, and a batch of a newer stream may begin right after the cursor of a
//! reader of the older one.

use tokenwire_core::{Epoch, token_log::Hint};

use crate::record::Batch;

/// The hint in a message. An unknown form (a call to read, or a message of another version) is a hint to read the log.
pub(super) fn hint(message: &[u8]) -> Hint {
    appended(message).unwrap_or(Hint::Look)
}

fn appended(message: &[u8]) -> Option<Hint> {
    let space = message.iter().position(|byte| *byte == b' ')?;
    let (epoch, batch) = message.split_at_checked(space)?;
    let epoch = str::from_utf8(epoch).ok()?.parse().ok()?;
    let batch = Batch::decode(batch.get(1..)?).ok()?;
    Some(Hint::Appended { epoch: Epoch::new(epoch), entries: batch.into_entries().collect() })
}

#[cfg(test)]
mod tests {
    use tokenwire_core::{Event, Seq, Timestamp};

    use super::*;

    fn batch() -> Vec<u8> {
        let events = vec![Event::Delta { text: "a b".into(), tokens: vec![] }];
        Batch { first: Seq::new(7), at: Timestamp::from_millis(1), events }.encode()
    }

    #[test]
    fn a_hint_says_which_stream_it_is_about() {
        let message = [b"1763800000123 ".as_slice(), &batch()].concat();
        let Hint::Appended { epoch, entries } = hint(&message) else { panic!("the entries themselves") };
        assert_eq!((epoch.get(), entries[0].seq), (1_763_800_000_123, Seq::new(7)));
    }

    #[test]
    fn whatever_is_not_understood_says_look() {
        let other = [b"1763800000123 \x09".as_slice(), &batch()].concat();
        for message in [b"".as_slice(), b" ", b"1 ", b"x \x01{}", &batch(), &other] {
            assert!(matches!(hint(message), Hint::Look), "{message:?}");
        }
    }
}
