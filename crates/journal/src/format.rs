//! The format of a segment, version 1.
//!
//! ```text
//! header   magic 8 | version u32 | salt 16 | crc32 of the 28 bytes before u32
//! record   length of the payload u32 | crc32 over salt, offset, length and payload u32 | payload
//! room     zeros, behind the last record of a segment that is or was written to: `committer.rs`
//! ```
//!
//! Numbers are little-endian. The checksum covers the salt, which is random for each segment, and the offset of the record. Bytes
//! of a user that look like a record, a record that was copied into a payload, and earlier content of a file do not match. So a
//! reader can search for the next valid record at every byte.
//!
//! The header has this layout in every version, so that an older reader can tell a newer file from a damaged one.

use uuid::Uuid;

/// The maximum size of a payload. It bounds the checksums that the search for the next valid record in a damaged file
/// computes. Several times the size of the largest prompt as JSON.
pub const MAX_PAYLOAD: usize = 8 * 1024 * 1024;

/// Bytes before the first record of a segment.
pub(crate) const HEADER: usize = 32;

/// Bytes before the payload of a record.
pub(crate) const FRAME: usize = 8;

const MAGIC: [u8; 8] = *b"JOURNAL\n";
const VERSION: u32 = 1;

/// A random number that makes the checksums of a segment unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Salt([u8; 16]);

impl Salt {
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4().into_bytes())
    }

    fn checksum(self, offset: u32, payload: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.0);
        crc.update(&offset.to_le_bytes());
        crc.update(&length(payload).to_le_bytes());
        crc.update(payload);
        crc.finalize()
    }
}

/// Why a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// It was not completely written, or is damaged.
    Damaged,
    /// It has a newer version.
    Newer(u32),
}

pub(crate) fn header(salt: Salt) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&salt.0);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

pub(crate) fn parse_header(file: &[u8]) -> Result<Salt, BadHeader> {
    let whole = |file| {
        let (magic, rest) = split::<8>(file)?;
        let (version, rest) = split::<4>(rest)?;
        let (salt, rest) = split::<16>(rest)?;
        let (crc, _) = split::<4>(rest)?;
        let intact = magic == MAGIC && crc32fast::hash(file.get(..HEADER - 4)?) == u32::from_le_bytes(crc);
        intact.then_some((u32::from_le_bytes(version), Salt(salt)))
    };
    match whole(file) {
        Some((VERSION, salt)) => Ok(salt),
        Some((version, _)) => Err(BadHeader::Newer(version)),
        None => Err(BadHeader::Damaged),
    }
}

/// Appends the record of a payload at this offset of its segment.
pub(crate) fn write_record(buffer: &mut Vec<u8>, salt: Salt, offset: u32, payload: &[u8]) {
    buffer.extend_from_slice(&length(payload).to_le_bytes());
    buffer.extend_from_slice(&salt.checksum(offset, payload).to_le_bytes());
    buffer.extend_from_slice(payload);
}

/// The payload of the record at the start of `bytes`, which are at this offset of their segment. `None` if there is no
/// valid record.
pub(crate) fn parse_record(salt: Salt, offset: u32, bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = split::<4>(bytes)?;
    let (crc, rest) = split::<4>(rest)?;
    let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
    if !(1..=MAX_PAYLOAD).contains(&length) {
        return None;
    }
    let payload = rest.get(..length)?;
    (salt.checksum(offset, payload) == u32::from_le_bytes(crc)).then_some(payload)
}

/// The size of the record of a payload.
pub(crate) fn record_size(payload: &[u8]) -> u32 {
    const FRAME_SIZE: u32 = 8;
    length(payload) + FRAME_SIZE
}

fn length(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).expect("a payload was checked against its limit when it was taken")
}

fn split<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    bytes.split_first_chunk::<N>().map(|(head, rest)| (*head, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_reads_back_at_its_own_offset_and_nowhere_else(
            payload in proptest::collection::vec(any::<u8>(), 1..300), offset: u32, elsewhere: u32,
        ) {
            let salt = Salt::random();
            let mut record = Vec::new();
            write_record(&mut record, salt, offset, &payload);
            prop_assert_eq!(parse_record(salt, offset, &record), Some(&payload[..]));
            prop_assert_eq!(record_size(&payload) as usize, record.len());
            if elsewhere != offset {
                prop_assert_eq!(parse_record(salt, elsewhere, &record), None);
            }
            prop_assert_eq!(parse_record(Salt::random(), offset, &record), None);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), offset: u32) {
            let _ = parse_record(Salt::random(), offset, &bytes);
            let _ = parse_header(&bytes);
        }
    }

    #[test]
    fn a_header_of_another_version_is_newer_and_a_broken_one_is_damaged() {
        let salt = Salt::random();
        let mut bytes = header(salt);
        assert_eq!(bytes.len(), HEADER);
        assert_eq!(parse_header(&bytes), Ok(salt));
        bytes[8] = 2;
        assert_eq!(parse_header(&bytes), Err(BadHeader::Damaged));
        let crc = crc32fast::hash(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(parse_header(&bytes), Err(BadHeader::Newer(2)));
        assert_eq!(parse_header(&bytes[..HEADER - 1]), Err(BadHeader::Damaged));
    }
}
