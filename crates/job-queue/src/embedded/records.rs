//! The records of the embedded queue in its journal, version 1.
//!
//! ```text
//! record     version u8 | kind u8 | ticket u64 | body
//! 1 stored   the job, in the form of `crate::message`
//! 2 settled
//! ```
//!
//! Numbers are little-endian. Leases and retries have no record: they end with the process. A job that is stored again
//! under its ticket was moved. `tests/fixtures` has one record of each kind and version.

const VERSION: u8 = 1;

const STORED: u8 = 1;
const SETTLED: u8 = 2;

/// The order of arrival of a job, and its identity in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) ticket: Ticket,
    pub(super) change: Change<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// The stored form of the job.
    Stored(&'a [u8]),
    Settled,
}

impl<'a> Record<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self.change {
            Change::Stored(job) => (STORED, job),
            Change::Settled => (SETTLED, &[][..]),
        };
        [&[VERSION, kind][..], &self.ticket.0.to_le_bytes(), body].concat()
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (version, rest) = bytes.split_first().ok_or(DecodeError::Malformed)?;
        if *version != VERSION {
            return Err(DecodeError::Version(*version));
        }
        let (kind, rest) = rest.split_first().ok_or(DecodeError::Malformed)?;
        let (ticket, body) = rest.split_first_chunk().ok_or(DecodeError::Malformed)?;
        let change = match *kind {
            STORED => Change::Stored(body),
            SETTLED if body.is_empty() => Change::Settled,
            _ => return Err(DecodeError::Malformed),
        };
        Ok(Self { ticket: Ticket(u64::from_le_bytes(*ticket)), change })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("the job queue has a record of format {0}, this version of tokenwire knows {VERSION}: upgrade")]
    Version(u8),
    #[error("a record of the job queue cannot be read")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_record_comes_back_as_it_went(ticket: u64, job: Option<Vec<u8>>) {
            let change = job.as_ref().map_or(Change::Settled, |job| Change::Stored(job));
            let record = Record { ticket: Ticket(ticket), change };
            let bytes = record.encode();
            prop_assert_eq!(Record::decode(&bytes), Ok(record));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(mut bytes: Vec<u8>) {
            let _ = Record::decode(&bytes);
            bytes.splice(0..0, [VERSION]);
            let _ = Record::decode(&bytes);
        }
    }

    /// One of each kind, as version 1 wrote them. Queues hold them: these literals may never change.
    #[test]
    fn version_1_is_written_and_read_like_this_for_ever() {
        let fixture = include_str!("../../tests/fixtures/embedded.v1.hex");
        let job = include_bytes!("../../tests/fixtures/job.v1.json").trim_ascii_end();
        for (line, change) in fixture.lines().zip([Change::Stored(job), Change::Settled]) {
            let digits = line.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            let stored: Vec<_> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
            let record = Record { ticket: Ticket(0x0102_0304), change };
            assert_eq!(record.encode(), stored);
            assert_eq!(Record::decode(&stored), Ok(record));
        }
    }

    #[test]
    fn a_record_of_a_newer_version_says_what_to_do() {
        let error = Record::decode(&[9, 1]).unwrap_err();
        assert_eq!(error, DecodeError::Version(9));
        assert!(error.to_string().contains("upgrade"));
    }
}
