//! What a journal does to its files, so that a test can be a disk that is full or broken.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

/// Where segments are written. Reading, listing and deleting are not here: their failures harm nothing that is committed.
pub trait Medium: fmt::Debug + Send + Sync + 'static {
    /// Creates the file, or empties the one that is there.
    ///
    /// # Errors
    /// What the system said.
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
    }

    /// Writes all of the bytes at the offset; after an error, any part of them may be there.
    ///
    /// # Errors
    /// What the system said.
    fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Makes what was written survive a loss of power.
    ///
    /// # Errors
    /// What the system said. Nobody knows then what survived, and asking again may falsely succeed.
    fn flush(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Makes the names in a directory survive a loss of power.
    ///
    /// # Errors
    /// As [`Self::flush`].
    fn flush_names(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    /// Makes the file this long: cuts off what is behind, or adds zeros that take no space.
    ///
    /// # Errors
    /// What the system said.
    fn resize(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }
}

/// The machine's own files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Medium for Disk {}
