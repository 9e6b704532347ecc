//! What the embedded log writes into its journal: one record for each change of a stream.
//!
//! ```text
//! record     version u8 | kind u8 | number of the stream u64 | body
//! 1 created  id 16 | fingerprint 32 | detached or cancel after u8 | grace ms u64 | created, start by, end by ms u64
//! 2 opened   attempt u32
//! 3 batch    attempt u32 | first seq u64 | how many entries u32 | ends the stream u8 | entries as in `crate::record`
//! 4 cancelled
//! 5 removed
//! 6 request  as `GenerateRequest::encode` gives it
//! 7 attempts attempt u32 | released u8 | asking u8 | without progress u32 | best u64 | began ms u64 | model waits u32 |
//!            waiting until ms u64 (0 for none)
//! 8 caller   the name, before the creation; a stream without this record has an anonymous caller
//!
//! in version 2
//! 1 created  as in version 1 | metadata
//! ```
//!
//! A record has the oldest version that can express it, so older versions of tokenwire can open a log without metadata. Kinds 6,
//! 7 and 8 are newer. A version that does not know a kind skips its records, because a stream can be read without them. (The
//! first versions log an error for each.)
//!
//! Numbers are little-endian. The number of a stream is never reused, while its id can be after a removal: a late record of the
//! old stream does not affect the new one. A batch has outside of its entries what recovery needs, so that opening a log runs
//! at the speed of the disk. `tests/fixtures` has one record of each kind and version.

use std::time::Duration;

use bytes::Bytes;
use tokenwire_core::{
    Attempt, Caller, CallerName, Fingerprint, GenerationId, Seq, Timestamp,
    token_log::{Attempts, OnDisconnect, Ownership, StreamSpec},
};

const VERSION: u8 = 1;

/// The version of a creation with metadata.
const WITH_METADATA: u8 = 2;

const DETACHED: u8 = 0;
const CANCEL_AFTER: u8 = 1;

/// One change of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) stream: StreamNumber,
    pub(super) change: Change<'a>,
}

/// Identifies a stream within one log. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct StreamNumber(pub(super) u64);

/// A change of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// The metadata is not in the spec, so that opening a log copies none.
    Created {
        id: GenerationId,
        spec: StreamSpec,
        metadata: &'a [u8],
    },
    Opened {
        attempt: Attempt,
    },
    Appended(Appended<'a>),
    Cancelled,
    Removed,
    Request(&'a [u8]),
    /// Who creates the stream. It comes before the creation, so that a crash between the two leaves no stream whose
    /// caller reads as anonymous.
    Caller(CallerName),
    Attempts {
        attempt: Attempt,
        attempts: Attempts,
        ownership: Ownership,
    },
    /// A kind of a newer version.
    Unknown,
}

/// A batch of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended<'a> {
    pub(super) attempt: Attempt,
    pub(super) first: Seq,
    pub(super) count: u32,
    /// Whether the last entry is terminal.
    pub(super) ends: bool,
    /// In the form of `crate::record`.
    pub(super) entries: &'a [u8],
}

/// The size of a record without metadata, entries, request and name is smaller, in bytes.
const SMALL: usize = 128;

impl<'a> Record<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let large = match &self.change {
            Change::Created { metadata, .. } => metadata.len(),
            Change::Appended(Appended { entries, .. }) => entries.len(),
            Change::Request(request) => request.len(),
            Change::Caller(name) => name.as_str().len(),
            Change::Opened { .. }
            | Change::Cancelled
            | Change::Removed
            | Change::Attempts { .. }
            | Change::Unknown => 0,
        };
        let mut bytes = Vec::with_capacity(SMALL + large);
        bytes.extend_from_slice(&[self.change.version(), self.change.kind()]);
        bytes.extend_from_slice(&self.stream.0.to_le_bytes());
        match &self.change {
            Change::Created { id, spec, metadata } => {
                bytes.extend_from_slice(id.as_bytes());
                bytes.extend_from_slice(spec.fingerprint.as_bytes());
                let (kind, grace) = match spec.on_disconnect {
                    OnDisconnect::Detached => (DETACHED, 0),
                    OnDisconnect::CancelAfter(grace) => {
                        (CANCEL_AFTER, u64::try_from(grace.as_millis()).unwrap_or(u64::MAX))
                    }
                };
                bytes.push(kind);
                let times = [spec.created_at, spec.start_by, spec.end_by].map(Timestamp::as_millis);
                for number in std::iter::once(grace).chain(times) {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                bytes.extend_from_slice(metadata);
            }
            Change::Opened { attempt } => bytes.extend_from_slice(&attempt.get().to_le_bytes()),
            Change::Appended(Appended { attempt, first, count, ends, entries }) => {
                bytes.extend_from_slice(&attempt.get().to_le_bytes());
                bytes.extend_from_slice(&first.get().to_le_bytes());
                bytes.extend_from_slice(&count.to_le_bytes());
                bytes.push(u8::from(*ends));
                bytes.extend_from_slice(entries);
            }
            Change::Request(request) => bytes.extend_from_slice(request),
            Change::Caller(name) => bytes.extend_from_slice(name.as_str().as_bytes()),
            Change::Attempts { attempt, attempts, ownership } => {
                let Attempts { without_progress, best, asking, began_at, model_waits, waiting_until } =
                    attempts;
                bytes.extend_from_slice(&attempt.get().to_le_bytes());
                bytes.push(u8::from(*ownership == Ownership::Released));
                bytes.push(u8::from(*asking));
                bytes.extend_from_slice(&without_progress.to_le_bytes());
                bytes.extend_from_slice(&best.to_le_bytes());
                bytes.extend_from_slice(&began_at.as_millis().to_le_bytes());
                bytes.extend_from_slice(&model_waits.to_le_bytes());
                bytes.extend_from_slice(&waiting_until.map_or(0, Timestamp::as_millis).to_le_bytes());
            }
            Change::Cancelled | Change::Removed | Change::Unknown => {}
        }
        bytes
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            Some(&VERSION) => Self::version_1(&mut ByteReader(bytes)).ok_or(DecodeError::Malformed),
            Some(&WITH_METADATA) => Self::version_2(&mut ByteReader(bytes)).ok_or(DecodeError::Malformed),
            Some(&version) => Err(DecodeError::Version(version)),
            None => Err(DecodeError::Malformed),
        }
    }

    fn version_1(bytes: &mut ByteReader<'a>) -> Option<Self> {
        let _version = bytes.u8()?;
        let kind = bytes.u8()?;
        let stream = StreamNumber(bytes.u64()?);
        let change = match kind {
            1 => created(bytes)?,
            2 => Change::Opened { attempt: Attempt::new(bytes.u32()?) },
            3 => Change::Appended(Appended {
                attempt: Attempt::new(bytes.u32()?),
                first: Seq::new(bytes.u64()?),
                count: bytes.u32()?,
                ends: bytes.u8()? != 0,
                entries: std::mem::take(&mut bytes.0),
            }),
            4 => Change::Cancelled,
            5 => Change::Removed,
            6 => Change::Request(std::mem::take(&mut bytes.0)),
            7 => attempts(bytes)?,
            8 => {
                let name = str::from_utf8(std::mem::take(&mut bytes.0)).ok()?;
                Change::Caller(CallerName::new(name).ok()?)
            }
            _ => {
                bytes.0 = &[];
                Change::Unknown
            }
        };
        bytes.0.is_empty().then_some(Self { stream, change })
    }

    fn version_2(bytes: &mut ByteReader<'a>) -> Option<Self> {
        let _version = bytes.u8()?;
        let kind = bytes.u8()?;
        let stream = StreamNumber(bytes.u64()?);
        let mut change = created(bytes)?;
        if let Change::Created { metadata, .. } = &mut change {
            *metadata = bytes.0;
        }
        (kind == 1).then_some(Self { stream, change })
    }
}

impl Change<'_> {
    fn version(&self) -> u8 {
        match self {
            Self::Created { metadata, .. } if !metadata.is_empty() => WITH_METADATA,
            _ => VERSION,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Created { .. } => 1,
            Self::Opened { .. } => 2,
            Self::Appended(_) => 3,
            Self::Cancelled => 4,
            Self::Removed => 5,
            Self::Request(_) => 6,
            Self::Attempts { .. } => 7,
            Self::Caller(_) => 8,
            // Never written.
            Self::Unknown => 0,
        }
    }
}

/// A creation, without its metadata and its caller.
fn created(bytes: &mut ByteReader<'_>) -> Option<Change<'static>> {
    let id = GenerationId::from_bytes(bytes.array()?);
    let fingerprint = Fingerprint::from_bytes(bytes.array()?);
    let on_disconnect = match (bytes.u8()?, bytes.u64()?) {
        (DETACHED, _) => OnDisconnect::Detached,
        (CANCEL_AFTER, grace) => OnDisconnect::CancelAfter(Duration::from_millis(grace)),
        _ => return None,
    };
    let mut time = || bytes.u64().map(Timestamp::from_millis);
    let (created_at, start_by, end_by) = (time()?, time()?, time()?);
    let (metadata, request) = (Bytes::new(), Bytes::new());
    let caller = Caller::Anonymous;
    let spec =
        StreamSpec { fingerprint, caller, on_disconnect, created_at, start_by, end_by, metadata, request };
    Some(Change::Created { id, spec, metadata: &[] })
}

/// The state of the attempts.
fn attempts(bytes: &mut ByteReader<'_>) -> Option<Change<'static>> {
    let attempt = Attempt::new(bytes.u32()?);
    let ownership = if bytes.u8()? == 0 { Ownership::Kept } else { Ownership::Released };
    let attempts = Attempts {
        asking: bytes.u8()? != 0,
        without_progress: bytes.u32()?,
        best: bytes.u64()?,
        began_at: Timestamp::from_millis(bytes.u64()?),
        model_waits: bytes.u32()?,
        waiting_until: Some(bytes.u64()?).filter(|&until| until > 0).map(Timestamp::from_millis),
    };
    Some(Change::Attempts { attempt, attempts, ownership })
}

/// The unread rest of a record.
struct ByteReader<'a>(&'a [u8]);

impl ByteReader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// Why a record cannot be decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    #[error(
        "the token log has a record of format {0}, this version of tokenwire knows {WITH_METADATA}: upgrade"
    )]
    Version(u8),
    #[error("a record of the token log cannot be read")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = (u64, u8, [u8; 16], [u64; 4], u32, bool, Vec<u8>)> {
        any::<(u64, u8, [u8; 16], [u64; 4], u32, bool, Vec<u8>)>()
    }

    fn change(
        kind: u8,
        id: [u8; 16],
        numbers: [u64; 4],
        attempt: u32,
        flag: bool,
        bytes: &[u8],
    ) -> Change<'_> {
        let [a, b, c, d] = numbers;
        match kind % 8 {
            0 => Change::Created {
                id: GenerationId::from_bytes(id),
                spec: StreamSpec {
                    fingerprint: Fingerprint::from_bytes([id, id].concat().try_into().unwrap()),
                    caller: Caller::Anonymous,
                    on_disconnect: if flag {
                        OnDisconnect::Detached
                    } else {
                        OnDisconnect::CancelAfter(Duration::from_millis(a))
                    },
                    created_at: Timestamp::from_millis(b),
                    start_by: Timestamp::from_millis(c),
                    end_by: Timestamp::from_millis(d),
                    metadata: Bytes::new(),
                    request: Bytes::new(),
                },
                metadata: bytes,
            },
            1 => Change::Opened { attempt: Attempt::new(attempt) },
            2 => Change::Appended(Appended {
                attempt: Attempt::new(attempt),
                first: Seq::new(a),
                count: attempt ^ 1,
                ends: flag,
                entries: bytes,
            }),
            3 => Change::Cancelled,
            4 => Change::Removed,
            5 => Change::Request(bytes),
            7 => Change::Caller(CallerName::new(&format!("team/{attempt}")).unwrap()),
            _ => Change::Attempts {
                attempt: Attempt::new(attempt),
                attempts: Attempts {
                    without_progress: attempt ^ 2,
                    best: a,
                    asking: flag,
                    began_at: Timestamp::from_millis(b),
                    model_waits: attempt ^ 3,
                    waiting_until: Some(c).filter(|&until| until > 0).map(Timestamp::from_millis),
                },
                ownership: if flag { Ownership::Released } else { Ownership::Kept },
            },
        }
    }

    proptest! {
        #[test]
        fn every_record_comes_back_as_it_went((stream, kind, id, numbers, attempt, flag, bytes) in records()) {
            let change = change(kind, id, numbers, attempt, flag, &bytes);
            let record = Record { stream: StreamNumber(stream), change };
            let bytes = record.encode();
            prop_assert_eq!(Record::decode(&bytes), Ok(record));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(mut bytes: Vec<u8>) {
            let _ = Record::decode(&bytes);
            bytes.splice(0..0, [VERSION]);
            let _ = Record::decode(&bytes);
            bytes[0] = WITH_METADATA;
            let _ = Record::decode(&bytes);
        }
    }

    /// One of each kind, as version 1 wrote them. Logs hold them: these literals may never change.
    #[test]
    fn version_1_is_written_and_read_like_this_for_ever() {
        let fixture = include_str!("../../tests/fixtures/embedded.v1.hex");
        let entries = crate::record::Batch {
            first: Seq::new(7),
            at: Timestamp::from_millis(1_763_800_000_123),
            events: vec![tokenwire_core::Event::Delta { text: "Hi \u{1f44b}\n".into(), tokens: Vec::new() }],
        }
        .encode();
        let mut lines = fixture.lines();
        for kind in 0..8 {
            let without_metadata: &[u8] = if kind == 0 { &[] } else { &entries };
            let change = change(kind, [0xa1; 16], [7, 2, 3, 4], 2, false, without_metadata);
            let stored = unhex(lines.next().unwrap());
            let record = Record { stream: StreamNumber(0x0102_0304), change };
            assert_eq!(record.encode(), stored, "kind {}", kind + 1);
            assert_eq!(Record::decode(&stored), Ok(record));
        }
    }

    /// As above. What has no metadata is written as version 1 wrote it: that is the test above.
    #[test]
    fn version_2_is_written_and_read_like_this_for_ever() {
        let stored = unhex(include_str!("../../tests/fixtures/embedded.v2.hex").trim_end());
        let change = change(0, [0xa1; 16], [7, 2, 3, 4], 2, false, b"{\"input\":\"Hi\"}\n");
        let record = Record { stream: StreamNumber(0x0102_0304), change };
        assert_eq!(record.encode(), stored);
        assert_eq!(Record::decode(&stored), Ok(record));
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    #[test]
    fn a_kind_that_is_not_known_is_skipped() {
        let record = Record::decode(&[VERSION, 200, 1, 0, 0, 0, 0, 0, 0, 0, 7, 7]).unwrap();
        assert_eq!(record, Record { stream: StreamNumber(1), change: Change::Unknown });
    }

    #[test]
    fn a_record_of_a_newer_version_says_what_to_do() {
        let error = Record::decode(&[9, 1]).unwrap_err();
        assert_eq!(error, DecodeError::Version(9));
        assert!(error.to_string().contains("upgrade"));
    }
}
