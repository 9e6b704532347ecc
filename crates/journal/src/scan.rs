//! Reads a journal while its own process may be writing to it.
//!
//! It takes no lock, writes nothing, and silently skips torn or damaged records. A shown record was written, but may not be
//! flushed.

use std::{fs, io, path::Path};

use crate::{
    OpenError, Position,
    format::{self, BadHeader},
    recover,
    segment::Segments,
};

/// Calls `visit` with every record of the journal in this directory, oldest first. Blocks while it reads the whole journal.
///
/// # Errors
/// [`OpenError`], also when the directory does not exist.
pub fn scan(dir: &Path, mut visit: impl FnMut(Position, &[u8])) -> Result<(), OpenError> {
    let segments = Segments::new(dir.to_owned());
    for id in segments.stored().map_err(|source| OpenError::at(dir, source))? {
        let path = segments.path(id);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(OpenError::at(&path, source)),
        };
        match format::parse_header(&bytes) {
            Ok(salt) => recover::records(salt, &bytes, &mut |offset, payload| {
                visit(Position::of(id, offset, payload), payload);
            }),
            Err(BadHeader::Newer(version)) => return Err(OpenError::Newer { file: path, version }),
            Err(BadHeader::Damaged) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Journal, Options, Sync};

    fn found(dir: &Path) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        scan(dir, |_, payload| found.push(payload.to_vec())).unwrap();
        found
    }

    fn files(dir: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let files = fs::read_dir(dir).unwrap().map(Result::unwrap);
        files.map(|file| (file.file_name(), fs::read(file.path()).unwrap())).collect()
    }

    #[tokio::test]
    async fn a_journal_can_be_looked_at_while_it_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 128, sync: Sync::Os };
        let journal = Journal::open(dir.path(), options, |_, _| {}).unwrap();
        let mut expected = Vec::new();
        for number in 0..20 {
            let record = format!("record {number}").into_bytes();
            journal.append(record.clone()).await.unwrap();
            expected.push(record);
            assert_eq!(found(dir.path()), expected);
        }
        assert!(journal.segments().len() > 1);
    }

    #[tokio::test]
    async fn looking_changes_nothing_whatever_a_crash_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), Options::default(), |_, _| {}).unwrap();
        for record in ["one", "two", "three"] {
            journal.append(record.as_bytes().to_vec()).await.unwrap();
        }
        drop(journal);
        let [(name, whole)] = files(dir.path()).try_into().unwrap();
        for cut in 0..whole.len() {
            fs::write(dir.path().join(&name), &whole[..cut]).unwrap();
            let before = files(dir.path());
            let found = found(dir.path());
            assert!(
                [&b"one"[..], b"two", b"three"]
                    .starts_with(&found.iter().map(Vec::as_slice).collect::<Vec<_>>())
            );
            assert_eq!(files(dir.path()), before, "cut at {cut}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_created() {
        let dir = tempfile::tempdir().unwrap();
        let nowhere = dir.path().join("nowhere");
        assert!(matches!(scan(&nowhere, |_, _| {}), Err(OpenError::Io { .. })));
        assert!(!nowhere.exists());
    }
}
