//! One process for a data directory.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// The exclusive use of a directory, until this is dropped or the process ends. Two processes that append to one journal
/// would destroy it.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Locks the directory for this process. Creates it if needed.
    ///
    /// # Errors
    /// [`LockError::Taken`] when another process has it. [`LockError::Io`] when it cannot be created or locked.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { dir: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(io)?;
        let file = File::options().create(true).append(true).open(dir.join("lock")).map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }
}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process uses it.
    #[error("another process uses the data directory {}: stop it, or choose another directory", dir.display())]
    Taken {
        /// The directory.
        dir: PathBuf,
    },
    /// It cannot be created or locked.
    #[error("cannot lock the data directory {}", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_refused_by_name_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = DirLock::take(&data).unwrap();
        let refused = DirLock::take(&data).unwrap_err();
        assert!(matches!(refused, LockError::Taken { .. }));
        assert!(refused.to_string().contains(&data.display().to_string()));
        drop(first);
        DirLock::take(&data).unwrap();
    }
}
