//! Finds out what a journal holds when it is opened.
//!
//! Two things can be wrong with a file. What a crash leaves is an end without a valid record: nobody was told that it was
//! stored, and it is cut off. What a failing medium leaves is a damaged range with valid records after it: the range is
//! skipped, loudly, and what follows is kept. What its records mean together is for the journal's user to judge.

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

/// Calls `visit` for every record in the directory, oldest first, and leaves an active segment to append to.
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
            // Records are written only once the header is safe: without any, this is a creation that was cut short.
            Err(BadHeader::Damaged) if active && bytes.len() <= HEADER => {
                tracing::warn!(file = %path.display(), "replacing a half-written segment");
                let segment = create(segments, medium, id).map_err(|(_, source)| fail(source))?;
                segments.insert(segment);
                continue;
            }
            // Neither read nor written nor deleted again: what to do with it is for people to say.
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
        // A process that was killed may have written more than it flushed, and all of it counts as durable from here on.
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

/// Creates an empty segment that survives a loss of power from here on. Says with its error what failed: after a flush, it
/// is not known what the medium holds.
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

/// What was under way when something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Write,
    Flush,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Scan {
    /// Right after the last valid record.
    end: u32,
    /// What lies between valid records and is none.
    damaged: Vec<Range<u32>>,
    /// What lies after the last valid record, without the room at the end of the file.
    torn: u32,
}

fn scan(salt: Salt, file: &[u8], visit: &mut dyn FnMut(u32, &[u8])) -> Scan {
    let record_at = |at: usize| Some((at, format::parse_record(salt, offset(at), file.get(at..)?)?));
    let mut scan = Scan { end: offset(HEADER), ..Scan::default() };
    // No record begins in the zeros at the end: its length is none.
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
            tracing::warn!(%file, offset = scan.end, bytes, "cutting off what a crash left unfinished");
        }
        // An older segment was flushed as a whole before the next one was begun.
        (bytes, false) => {
            tracing::error!(%file, offset = scan.end, bytes, "skipping a damaged end of a segment");
        }
    }
}

/// A place in a segment. Segments are limited to far less than 4 GiB; a longer file is none of ours, and its end is
/// not looked at.
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
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn at(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
