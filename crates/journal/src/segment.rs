//! The files of a journal: their names, the open files, and reading one record.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    Position,
    format::{self, FRAME, Salt},
};

/// One file of the journal.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) salt: Salt,
    /// The end of its committed records.
    pub(crate) end: AtomicU32,
}

/// The properties of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number, as in [`Position::segment`]. Later segments have higher numbers.
    pub id: u64,
    /// Its size in bytes.
    pub bytes: u32,
    /// Whether records are appended to it.
    pub active: bool,
}

/// The segments, oldest first. The last one is active.
#[derive(Debug)]
pub(crate) struct Segments {
    dir: PathBuf,
    open: RwLock<BTreeMap<u64, Arc<Segment>>>,
}

impl Segments {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, open: RwLock::default() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, id: u64) -> PathBuf {
        self.dir.join(format!("{id:020}.journal"))
    }

    /// The numbers of the segments in the directory, oldest first. Other files are ignored.
    pub(crate) fn stored(&self) -> io::Result<Vec<u64>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            ids.extend(
                name.to_str()
                    .and_then(|name| name.strip_suffix(".journal"))
                    .and_then(|id| id.parse::<u64>().ok()),
            );
        }
        ids.sort_unstable();
        Ok(ids)
    }

    pub(crate) fn insert(&self, segment: Arc<Segment>) {
        self.write().insert(segment.id, segment);
    }

    pub(crate) fn last(&self) -> Option<Arc<Segment>> {
        self.read_lock().last_key_value().map(|(_, segment)| Arc::clone(segment))
    }

    pub(crate) fn list(&self) -> Vec<SegmentInfo> {
        let open = self.read_lock();
        let last = open.last_key_value().map(|(id, _)| *id);
        open.values()
            .map(|segment| SegmentInfo {
                id: segment.id,
                bytes: segment.end.load(Ordering::Relaxed),
                active: Some(segment.id) == last,
            })
            .collect()
    }

    /// Deletes a segment, unless it is active or missing. Running reads continue.
    pub(crate) fn remove(&self, id: u64) -> io::Result<()> {
        let segment = {
            let mut open = self.write();
            match open.last_key_value() {
                Some((last, _)) if *last != id => open.remove(&id),
                Some(_) | None => None,
            }
        };
        let Some(segment) = segment else { return Ok(()) };
        if let Err(error) = fs::remove_file(&segment.path) {
            self.insert(segment);
            return Err(error);
        }
        // Not flushed: a segment that comes back after a loss of power is removed again.
        Ok(())
    }

    pub(crate) fn read(&self, position: Position) -> Result<Vec<u8>, ReadError> {
        let Position { segment: id, offset, length } = position;
        let segment = self.read_lock().get(&id).map(Arc::clone).ok_or(ReadError::Gone { segment: id })?;
        let damaged = || ReadError::Damaged { file: segment.path.clone(), offset };
        let mut record = vec![0; FRAME + length as usize];
        match segment.file.read_exact_at(&mut record, u64::from(offset)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged()),
            Err(source) => return Err(ReadError::Io { file: segment.path.clone(), source }),
        }
        match format::parse_record(segment.salt, offset, &record) {
            Some(payload) if payload.len() == length as usize => {}
            Some(_) | None => return Err(damaged()),
        }
        record.drain(..FRAME);
        Ok(record)
    }

    fn read_lock(&self) -> RwLockReadGuard<'_, BTreeMap<u64, Arc<Segment>>> {
        // Nothing panics while it holds the lock.
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<u64, Arc<Segment>>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its segment was removed.
    #[error("segment {segment} of the journal was removed")]
    Gone {
        /// The number of the segment.
        segment: u64,
    },
    /// It is damaged: the disk lost it after it was written or found.
    #[error("the record at byte {offset} of {} is damaged", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the record begins.
        offset: u32,
    },
    /// The file cannot be read.
    #[error("cannot read {}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}
