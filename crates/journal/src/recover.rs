//! Reads the journal when it is opened.
//!
//! A file can be wrong in two ways. A crash leaves an end without a valid record, which was never acknowledged: it is cut
//! off. A failing disk leaves a damaged range with valid records after it: the range is skipped and logged at `error`, and
//! the rest is kept. The user of the journal decides what its records mean together.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU32},
};

use crate::{
    Position,
    format::{self, BadHeader, HEADER, Salt},
    medium::Medium,
    segment::{Segment, Segments},
};

/// Calls `visit` for every record in the directory, oldest first, and prepares an active segment.
pub(crate) fn recover(
    segments: &Segments,
    medium: &dyn Medium,
    visit: &mut dyn FnMut(Position, &[u8]),
) -> Result<(), OpenError> {
    let ids = segments.stored().map_err(|source| OpenError::at(segments.dir(), source))?;
    let newest = ids.last().copied();
    for id in ids {
        let path = segments.path(id);
        let fail = |source| OpenError::at(&path, source);
        let bytes = fs::read(&path).map_err(fail)?;
        let active = Some(id) == newest;
        let salt = match format::parse_header(&bytes) {
            Ok(salt) => salt,
            Err(BadHeader::Newer(version)) => return Err(OpenError::Newer { file: path, version }),
            // Records are written only after the header is flushed: without records this is an interrupted creation.
            Err(BadHeader::Damaged) if active && bytes.len() <= HEADER => {
                tracing::warn!(file = %path.display(), "replacing a half-written segment");
                let segment = create(segments, medium, id).map_err(|(_, source)| fail(source))?;
                segments.insert(segment);
                continue;
            }
            // It is not read, written or deleted. An operator decides.
            Err(BadHeader::Damaged) => {
                tracing::error!(file = %path.display(), bytes = bytes.len(), "the header is damaged: the segment is lost");
                continue;
            }
        };
        let scan = scan(salt, &bytes, &mut |offset, payload| {
            visit(Position::of(id, offset, payload), payload);
        });
        report(&path, &scan, active);
        let file = File::options().read(true).write(true).open(&path).map_err(fail)?;
        if active && scan.end < offset(bytes.len()) {
            medium.resize(&file, u64::from(scan.end)).map_err(fail)?;
        }
        // A killed process may have written more than it flushed. All of it counts as durable from here on.
        medium.flush(&file).map_err(fail)?;
        let end = AtomicU32::new(scan.end);
        segments.insert(Arc::new(Segment { id, path, file, salt, end }));
    }
    if segments.last().map(|last| last.id) != newest || newest.is_none() {
        let id = newest.map_or(1, |newest| newest + 1);
        let created = create(segments, medium, id);
        segments.insert(created.map_err(|(_, source)| OpenError::at(&segments.path(id), source))?);
    }
    Ok(())
}

/// Creates an empty segment that survives a loss of power. An error says which step failed: after a failed flush the
/// content of the disk is unknown.
pub(crate) fn create(
    segments: &Segments,
    medium: &dyn Medium,
    id: u64,
) -> Result<Arc<Segment>, (Step, io::Error)> {
    let path = segments.path(id);
    let salt = Salt::random();
    let write = |error| (Step::Write, error);
    let flush = |error| (Step::Flush, error);
    let file = medium.create(&path).map_err(write)?;
    medium.write_all_at(&file, &format::header(salt), 0).map_err(write)?;
    medium.flush(&file).map_err(flush)?;
    medium.flush_names(segments.dir()).map_err(flush)?;
    Ok(Arc::new(Segment { id, path, file, salt, end: AtomicU32::new(offset(HEADER)) }))
}

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Write,
    Flush,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Scan {
    /// The end of the last valid record.
    end: u32,
    /// Ranges between valid records that are no records.
    damaged: Vec<Range<u32>>,
    /// The bytes after the last valid record, without the zeros at the end of the file.
    torn: u32,
}

fn scan(salt: Salt, file: &[u8], visit: &mut dyn FnMut(u32, &[u8])) -> Scan {
    let record_at = |at: usize| Some((at, format::parse_record(salt, offset(at), file.get(at..)?)?));
    let mut scan = Scan { end: offset(HEADER), ..Scan::default() };
    // No record begins in the zeros at the end: a length of zero is not valid.
    let used = file.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut at = HEADER;
    while let Some((next, payload)) = (at..used).find_map(record_at) {
        if next > at {
            scan.damaged.push(offset(at)..offset(next));
        }
        visit(offset(next), payload);
        at = next + format::record_size(payload) as usize;
        scan.end = offset(at);
    }
    scan.torn = offset(used).saturating_sub(scan.end);
    scan
}

/// Calls `visit` for every valid record of a segment.
pub(crate) fn records(salt: Salt, file: &[u8], visit: &mut dyn FnMut(u32, &[u8])) {
    scan(salt, file, visit);
}

fn report(path: &Path, scan: &Scan, active: bool) {
    let file = path.display();
    for range in &scan.damaged {
        tracing::error!(%file, offset = range.start, bytes = range.len(), "skipping a damaged part of the journal");
    }
    match (scan.torn, active) {
        (0, _) => {}
        (bytes, true) => {
            tracing::warn!(%file, offset = scan.end, bytes, "cutting off an unfinished write");
        }
        // An older segment was flushed before the next one was begun.
        (bytes, false) => {
            tracing::error!(%file, offset = scan.end, bytes, "skipping a damaged end of a segment");
        }
    }
}

/// An offset in a segment. Segments are far smaller than 4 GiB. The end of a longer file is ignored.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file was written by a newer version. Upgrade, or restore the version that wrote it.
    #[error(
        "{} has format {version}, which this version does not know: upgrade, or go back to the version that wrote it",
        file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// The version of its format.
        version: u32,
    },
    /// A file or the directory cannot be read or written.
    #[error("cannot open the journal at {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn at(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
