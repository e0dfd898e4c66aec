//! Files that only this process can reach.
//!
//! A temporary file loses its name as soon as it is open, so nothing is left of it however the process ends; where
//! the system does not allow that, it is removed when it is closed.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Removes a file that could not be removed while it was open.
#[derive(Debug)]
pub(super) struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file that only this process can reach.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) remove: Option<Remove>,
}

impl TemporaryFile {
    /// Creates a file in a folder.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let random = RandomState::new().hash_one(number);
        let name = format!(
            ".gptbpe-counts-{}-{number}-{random:016x}",
            std::process::id()
        );
        let path = folder.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        let remove = std::fs::remove_file(&path)
            .err()
            .map(|_| Remove(path.clone()));
        Ok(Self { file, path, remove })
    }
}
