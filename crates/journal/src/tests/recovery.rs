//! What comes back when a journal is opened again, whatever happened to its files.

use std::{fs, path::Path};

use proptest::prelude::*;

use super::disk::{files, open, payloads};
use crate::{Journal, OpenError, Options, Sync};

const SMALL: Options = Options { segment_bytes: 256, sync: Sync::Os };

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn write(dir: &Path, options: Options, records: &[impl AsRef<[u8]>]) {
    let (journal, _) = open(dir, options);
    runtime().block_on(async {
        for record in records {
            journal.append(record.as_ref().to_vec()).await.unwrap();
        }
    });
}

/// Writes one segment with these records, and gives its bytes and where each record ends.
fn one_segment(records: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), Options::default(), records);
    let bytes = fs::read(&files(dir.path())[0]).unwrap();
    let size: usize = records.iter().map(|record| record.len() + 8).sum();
    let mut end = bytes.len() - size;
    let ends = records
        .iter()
        .map(|record| {
            end += record.len() + 8;
            end
        })
        .collect();
    (bytes, ends)
}

/// What a journal gives back whose only segment has these bytes; and it takes another record, and keeps both.
fn reopened(bytes: &[u8]) -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(format!("{:020}.journal", 1)), bytes).unwrap();
    let mut found = payloads(dir.path());
    write(dir.path(), Options::default(), &[b"after"]);
    let again = payloads(dir.path());
    assert_eq!(
        again.split_last().map(|(last, before)| (&last[..], before)),
        Some((&b"after"[..], &found[..]))
    );
    found.shrink_to_fit();
    found
}

#[test]
fn a_segment_cut_at_any_byte_keeps_every_whole_record_and_invents_none() {
    let records: [&[u8]; 4] = [b"one", b"two, a little longer", b"three", b"\0\0\0\0\0"];
    let (bytes, ends) = one_segment(&records);
    for cut in 0..=bytes.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(reopened(&bytes[..cut]), records[..whole], "cut at {cut}");
    }
}

#[test]
fn a_segment_that_a_crash_left_with_room_keeps_every_whole_record_and_invents_none() {
    let records: [&[u8]; 3] = [b"one", b"two, a little longer", b"three"];
    let (bytes, ends) = one_segment(&records);
    for cut in bytes.len() - 60..=bytes.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let room = [&bytes[..cut], &[0; 500]].concat();
        assert_eq!(reopened(&room), records[..whole], "cut at {cut}");
    }
}

#[test]
fn reserved_space_is_not_damage_and_the_next_opening_frees_it() {
    let (bytes, _) = one_segment(&[b"one", b"two"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(format!("{:020}.journal", 1));
    fs::write(&file, [&bytes[..], &[0; 500]].concat()).unwrap();
    assert_eq!(payloads(dir.path()), [b"one", b"two"]);
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[test]
fn a_flipped_bit_anywhere_costs_the_record_it_hits_and_no_other() {
    let records: [&[u8]; 4] = [b"one", b"two, a little longer", b"three", b"\0\0\0\0\0"];
    let (bytes, ends) = one_segment(&records);
    for at in ends[0]..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let hit = ends.iter().position(|end| at < *end).unwrap();
            let mut left = records.to_vec();
            left.remove(hit);
            assert_eq!(reopened(&damaged), left, "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_damaged_header_costs_its_segment_alone_and_the_file_is_left_to_people() {
    let dir = tempfile::tempdir().unwrap();
    let records: Vec<_> = (0..20_u8).map(|n| vec![n; 50]).collect();
    write(dir.path(), SMALL, &records);
    for (index, file) in files(dir.path()).into_iter().enumerate() {
        let intact = fs::read(&file).unwrap();
        let mut damaged = intact.clone();
        damaged[20] ^= 1;
        fs::write(&file, &damaged).unwrap();
        let found = payloads(dir.path());
        assert!(found.len() < records.len() && found.iter().all(|record| records.contains(record)));
        assert_eq!(fs::read(&file).unwrap(), damaged, "segment {index}");
        fs::write(&file, &intact).unwrap();
    }
    assert_eq!(payloads(dir.path()), records);
}

#[test]
fn a_payload_that_holds_a_copy_of_a_true_record_does_not_bring_it_back() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), Options::default(), &[b"secret"]);
    let file = files(dir.path()).remove(0);
    let copy = fs::read(&file).unwrap();
    // The whole file: its header with the salt, and a valid record.
    write(dir.path(), Options::default(), &[&copy[..], &b"last"[..]]);
    let mut bytes = fs::read(&file).unwrap();
    // Lose the frame around the copy: the search for the next record goes over it byte by byte.
    bytes[copy.len()] ^= 0xff;
    assert_eq!(reopened(&bytes), [&b"secret"[..], b"last"]);
}

#[test]
fn stale_bytes_behind_the_end_are_cut_off_and_never_come_back() {
    let (bytes, ends) = one_segment(&[b"one", b"two", b"three"]);
    let mut torn = bytes.clone();
    torn[ends[0]..].fill(0);
    torn.extend_from_slice(&[0; 4096]);
    assert_eq!(reopened(&torn), [b"one"]);
}

#[test]
fn a_half_written_header_of_the_newest_segment_is_replaced() {
    for length in 0..32 {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), Options::default(), &[b"one"]);
        let first = fs::read(&files(dir.path())[0]).unwrap();
        fs::write(dir.path().join(format!("{:020}.journal", 2)), &first[..length]).unwrap();
        write(dir.path(), Options::default(), &[b"two"]);
        assert_eq!(payloads(dir.path()), [b"one", b"two"]);
        assert_eq!(files(dir.path()).len(), 2);
    }
}

#[test]
fn a_segment_of_a_newer_version_is_refused_with_advice() {
    let (mut bytes, _) = one_segment(&[b"one"]);
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(format!("{:020}.journal", 1)), bytes).unwrap();
    let refused = Journal::open(dir.path(), Options::default(), |_, _| {}).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { version: 9, .. }));
    assert!(refused.to_string().contains("upgrade"), "{refused}");
}

/// Segments of this version stay readable for ever: this file may never be replaced.
#[test]
fn version_1_is_read_like_this_for_ever() {
    assert_eq!(
        reopened(include_bytes!("../../tests/fixtures/v1.journal")),
        [&b"one"[..], "zwei \u{1f44b}".as_bytes(), &[0; 40]]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_was_written_comes_back_in_order_and_can_be_read_again(
        lives in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 1..400), 0..12), 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        for life in &lives {
            write(dir.path(), SMALL, life);
        }
        let (journal, found) = open(dir.path(), SMALL);
        let expected: Vec<_> = lives.into_iter().flatten().collect();
        prop_assert!(found.iter().map(|(_, payload)| payload).eq(&expected));
        prop_assert!(found.iter().map(|(position, _)| position).is_sorted());
        for (position, payload) in found {
            prop_assert_eq!(journal.read(position).unwrap(), payload);
        }
    }

    #[test]
    fn any_damage_loses_records_and_never_invents_one(
        at in 32_usize..4000, garbage in prop::collection::vec(any::<u8>(), 1..600),
    ) {
        let records: Vec<_> = (0..40_u8).map(|n| vec![n; usize::from(n) + 60]).collect();
        let parts: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let (mut bytes, ends) = one_segment(&parts);
        let to = bytes.len().min(at + garbage.len());
        let at = at.min(to);
        bytes[at..to].copy_from_slice(&garbage[..to - at]);
        let found = reopened(&bytes);
        let before = ends.iter().filter(|end| **end <= at).count();
        let after = ends.iter().filter(|end| **end - 8 >= to).count().saturating_sub(1);
        prop_assert!(found.iter().all(|record| records.contains(record)));
        prop_assert!(found.is_sorted());
        prop_assert!(found.starts_with(&records[..before]));
        prop_assert!(found.ends_with(&records[records.len() - after..]));
    }
}
