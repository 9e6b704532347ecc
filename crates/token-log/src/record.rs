//! The stored form of entries, the same in every durable adapter: one record has one batch.
//!
//! A record is a version byte, then, in version 1, JSON: `{"first": 7, "at": 1763800000000, "events": [...]}`. The events
//! have consecutive seqs from `first`. `at` is when the batch was appended. A reader refuses an unknown version.
//! `tests/fixtures` has a record of every version.

use serde::{Deserialize, Serialize, de::IgnoredAny};
use tokenwire_core::{Entry, Event, Seq, Timestamp};

const VERSION: u8 = 1;

/// Entries that were appended together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) first: Seq,
    pub(crate) at: Timestamp,
    pub(crate) events: Vec<Event>,
}

impl Batch {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // One allocation: texts are about as long in JSON.
        let about = self.events.iter().map(Event::size).sum::<usize>();
        let mut record = Vec::with_capacity(64 + about);
        record.push(VERSION);
        serde_json::to_writer(&mut record, self)
            .expect("events have string keys, and a vector takes every write");
        record
    }

    pub(crate) fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let body = Self::body(record)?;
        serde_json::from_slice(body).map_err(|error| {
            // The batch is valid except for an event: a newer version wrote it.
            if serde_json::from_slice::<Shape>(body).is_ok() {
                DecodeError::Event(error)
            } else {
                DecodeError::Malformed(error)
            }
        })
    }

    /// The part after the version byte, if the version is known.
    pub(crate) fn body(record: &[u8]) -> Result<&[u8], DecodeError> {
        match record.split_first() {
            Some((&VERSION, body)) => Ok(body),
            Some((&version, _)) => Err(DecodeError::Version(version)),
            None => Err(DecodeError::Empty),
        }
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = Entry> {
        let Self { first, at, events } = self;
        events.into_iter().enumerate().map(move |(index, event)| Entry { seq: first.plus(index), at, event })
    }
}

/// A batch with events of any kind.
#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "first")]
    _first: Seq,
    #[serde(rename = "at")]
    _at: Timestamp,
    #[serde(rename = "events")]
    _events: Vec<IgnoredAny>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("a stored record is empty")]
    Empty,
    #[error("a stored record has format {0}, this version of tokenwire knows {VERSION}: upgrade")]
    Version(u8),
    #[error("a stored record has an event that this version of tokenwire does not know: upgrade")]
    Event(#[source] serde_json::Error),
    #[error("a stored record cannot be read")]
    Malformed(#[source] serde_json::Error),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenwire_core::{Attempt, CancelCause, Failure, FinishReason, TextSoFar, TokenId, Usage};

    use super::*;

    fn delta(text: &str, tokens: &[u32]) -> Event {
        Event::Delta { text: text.to_owned(), tokens: tokens.iter().copied().map(TokenId).collect() }
    }

    fn finished(reason: FinishReason, input_tokens: u64, output_tokens: u64) -> Event {
        Event::Finished { reason, usage: Usage { input_tokens, output_tokens } }
    }

    /// Every kind of event there is.
    fn events() -> Vec<Event> {
        let started = |attempt, text, region| Event::Started { attempt: Attempt::new(attempt), text, region };
        let failures = [
            Failure::Expired,
            Failure::TimedOut,
            Failure::Cancelled { cause: CancelCause::Requested },
            Failure::Cancelled { cause: CancelCause::Abandoned },
            Failure::Rejected { message: "too long".into() },
            Failure::Exhausted { attempts: 3, message: "it broke".into() },
            Failure::Lost,
        ];
        let mut events = vec![
            started(2, TextSoFar::Kept, Some("EAST-1".into())),
            started(3, TextSoFar::Superseded, None),
            delta("Hi \u{1f44b}\n", &[1, u32::MAX]),
            delta("x", &[]),
            finished(FinishReason::Stop, 3, 5),
            finished(FinishReason::Length, 0, 0),
        ];
        events.extend(failures.map(|failure| Event::Failed { failure }));
        events
    }

    /// Logs hold records like this one: the file may never change.
    #[test]
    fn version_1_is_written_and_read_like_this_for_ever() {
        let stored = include_bytes!("../tests/fixtures/batch.v1");
        let batch =
            Batch { first: Seq::new(7), at: Timestamp::from_millis(1_763_800_000_123), events: events() };
        assert_eq!(Batch::decode(stored).unwrap(), batch);
        assert_eq!(batch.encode(), stored);
    }

    #[test]
    fn an_event_of_a_newer_version_is_told_from_damage() {
        let newer = b"\x01{\"first\":1,\"at\":2,\"events\":[{\"tune\":{\"notes\":7}}]}";
        assert!(matches!(Batch::decode(newer), Err(DecodeError::Event(_))));
        assert!(matches!(Batch::decode(b"\x01{}"), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn a_record_of_a_newer_version_says_what_to_do() {
        let error = Batch::decode(&[9, b'{']).unwrap_err();
        assert!(matches!(error, DecodeError::Version(9)));
        assert!(error.to_string().contains("upgrade"));
    }

    proptest! {
        #[test]
        fn every_text_comes_back_as_it_went(first: u64, at: u64, texts: Vec<String>, tokens: Vec<u32>) {
            let events = texts.iter().map(|text| delta(text, &tokens)).collect();
            let batch = Batch { first: Seq::new(first), at: Timestamp::from_millis(at), events };
            prop_assert_eq!(Batch::decode(&batch.encode()).unwrap(), batch);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(mut bytes: Vec<u8>) {
            let _ = Batch::decode(&bytes);
            bytes.splice(0..0, [VERSION]);
            let _ = Batch::decode(&bytes);
        }
    }
}
