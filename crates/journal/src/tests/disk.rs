//! What the journal's tests share: looking at its directory, and a disk that fails.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
};

use crate::{Journal, Medium, Options, Position};

/// Opens the journal, and says what it held.
pub(super) fn open(dir: &Path, options: Options) -> (Journal, Vec<(Position, Vec<u8>)>) {
    let mut records = Vec::new();
    let visit = |position, payload: &[u8]| records.push((position, payload.to_vec()));
    let journal = Journal::open_on(Arc::new(QuickDisk), dir, options, visit).unwrap();
    (journal, records)
}

/// What the journal in a directory holds.
pub(super) fn payloads(dir: &Path) -> Vec<Vec<u8>> {
    open(dir, Options::default()).1.into_iter().map(|(_, payload)| payload).collect()
}

/// The files of a journal, oldest first.
pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A disk that never waits: tests end processes, not the power.
#[derive(Debug)]
pub(super) struct QuickDisk;

impl Medium for QuickDisk {
    fn flush(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn flush_names(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that fails on request.
#[derive(Debug, Default)]
pub(super) struct FaultyDisk {
    pub(super) full: AtomicBool,
    pub(super) cut_fails: AtomicBool,
    pub(super) flush_fails: AtomicBool,
}

impl Medium for FaultyDisk {
    fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            // All but the last byte goes through: the first records of a group are whole.
            file.write_all_at(&bytes[..bytes.len() - 1], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, offset)
    }

    fn flush(&self, file: &File) -> io::Result<()> {
        if self.flush_fails.load(Ordering::SeqCst) {
            Err(io::Error::other("torn cable"))
        } else {
            file.sync_data()
        }
    }

    fn resize(&self, file: &File, length: u64) -> io::Result<()> {
        if self.cut_fails.load(Ordering::SeqCst) {
            Err(io::Error::other("torn cable"))
        } else {
            file.set_len(length)
        }
    }
}

/// A disk that flushes when it is let, and counts.
#[derive(Debug)]
pub(super) struct SlowDisk {
    pub(super) flushes: AtomicUsize,
    let_go: Mutex<mpsc::Receiver<()>>,
}

impl SlowDisk {
    /// The disk, and what lets it flush once for each message.
    pub(super) fn new() -> (Self, mpsc::Sender<()>) {
        let (sender, let_go) = mpsc::channel();
        (Self { flushes: AtomicUsize::new(0), let_go: Mutex::new(let_go) }, sender)
    }
}

impl Medium for SlowDisk {
    fn flush(&self, _: &File) -> io::Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        // A sender that is gone lets everything go.
        let _ = self.let_go.lock().unwrap().recv();
        Ok(())
    }
}
