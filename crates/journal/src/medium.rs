//! The file operations of a journal, so that a test can simulate a full or broken disk.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

/// The operations that write segments. Reading, listing and deleting are not here: their failures harm nothing that is
/// committed.
pub trait Medium: fmt::Debug + Send + Sync + 'static {
    /// Creates the file, or empties the one that is there.
    ///
    /// # Errors
    /// The error of the system.
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
    }

    /// Writes all bytes at the offset. After an error any part of them may be written.
    ///
    /// # Errors
    /// The error of the system.
    fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Makes written bytes survive a loss of power.
    ///
    /// # Errors
    /// The error of the system. What survived is then unknown, and a second flush may falsely succeed.
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

    /// Sets the length of the file: cuts it, or adds zeros that take no space.
    ///
    /// # Errors
    /// The error of the system.
    fn resize(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }
}

/// The files of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Medium for Disk {}
