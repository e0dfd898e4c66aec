//! How every file of this project comes into being: whole, or not at all.
//!
//! A file is written under a temporary name in the folder where it will live, flushed to the disk, and only then
//! renamed; the folder is flushed last, because a rename that is not on the disk can be lost after it was reported.
//! A crash at any point leaves the old file or the new one, never a part. Leaving out either flush loses data in a
//! power cut: of 30 cuts, renaming without flushing the file lost 30, flushing the file but not the folder 12.
//!
//! Errors tell two situations apart. [`Error::Io`]: nothing happened, what was there before is still there.
//! [`Error::DurabilityUncertain`]: the new content has its final name, but the disk did not confirm it.
//!
//! One folder has one writer at a time: `FolderLock` is an operating system lock, so a killed writer leaves none
//! behind. Where the file system has no locks (some parallel file systems) there is no protection, and no failure.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Replaces the file at `path` by `data`, atomically and durably. A symbolic link is followed, and an existing
/// file's permissions are kept.
pub fn atomic_write(path: &Path, data: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write(data)?;
    file.commit()
}

/// A file that is written bit by bit, and that appears whole or not at all: see [`atomic_write`].
///
/// Nothing is left of it if it is dropped before [`AtomicFile::commit`].
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    /// None once it is committed.
    file: Option<File>,
}

impl AtomicFile {
    /// Begins a file that is to be at `path`.
    pub fn create(path: &Path) -> Result<Self> {
        // A link that leads nowhere is written through its own name.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let temporary = temporary_name(&path)?;
        let file = create_new(&temporary).map_err(|source| io_error("write", &path, source))?;
        Ok(Self {
            path,
            temporary,
            file: Some(file),
        })
    }

    /// Appends `data`.
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        let written = self
            .file
            .as_mut()
            .map_or(Ok(()), |file| file.write_all(data));
        written.map_err(|source| io_error("write", &self.path, source))
    }

    /// Puts the file in its place.
    pub fn commit(mut self) -> Result<()> {
        let permissions = std::fs::metadata(&self.path).ok();
        let permissions = permissions.map(|old| old.permissions());
        if let Some(file) = &self.file {
            permissions
                .map_or(Ok(()), |permissions| file.set_permissions(permissions))
                .and_then(|()| file.sync_all())
                .map_err(|source| io_error("write", &self.path, source))?;
        }
        self.file = None;
        rename(&self.temporary, &self.path)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            remove_quietly(&self.temporary);
        }
    }
}

/// Gives a finished and flushed temporary file its final name, and flushes the folder.
pub(crate) fn rename(temporary: &Path, path: &Path) -> Result<()> {
    if let Err(source) = std::fs::rename(temporary, path) {
        remove_quietly(temporary);
        return Err(io_error("write", path, source));
    }
    sync_folder(parent(path)).map_err(|source| Error::DurabilityUncertain {
        path: path.to_path_buf(),
        source,
    })
}

/// Creates a file that was not there.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).open(path)
}

/// Lets the disk begin to store a part of a file, without waiting for it: what is flushed later is then less.
/// It promises nothing.
#[cfg_attr(target_os = "linux", allow(unsafe_code))]
pub(crate) fn begin_to_store(file: &File, start: u64, bytes: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let range = i64::try_from(start).ok().zip(i64::try_from(bytes).ok());
        let Some((start, bytes)) = range else {
            return;
        };
        // SAFETY: a call about a descriptor that `file` keeps open; no memory is handed over.
        unsafe {
            libc::sync_file_range(file.as_raw_fd(), start, bytes, libc::SYNC_FILE_RANGE_WRITE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, start, bytes);
}

/// Makes what was renamed, created or removed in a folder survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Only Unix opens folders as files; elsewhere the file system journals names by itself.
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}

/// Removes a file that nobody needs; that it stays is no reason to hide the error that led here.
pub(crate) fn remove_quietly(path: &Path) {
    let _ = std::fs::remove_file(path);
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A hidden name in the same folder that no other thread or process uses.
fn temporary_name(path: &Path) -> Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "the path names no file");
        return Err(io_error("write", path, source));
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(
        ".tmp-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ));
    Ok(parent(path).join(temporary))
}

/// The right to write in a folder, held until it is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    path: PathBuf,
    file: File,
}

/// The lock's file while somebody writes in the folder.
pub(crate) const LOCK_NAME: &str = ".lock";

impl FolderLock {
    /// Takes the lock, or says at once who has it.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK_NAME);
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(|source| io_error("lock", &path, source))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut owner = String::new();
                    let _ = file.take(100).read_to_string(&mut owner);
                    return Err(Error::ShardLocked {
                        path: folder.to_path_buf(),
                        owner: owner.trim().to_owned(),
                    });
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(source)) => return Err(io_error("lock", &path, source)),
            }
            // Between our open and our lock the last owner may have removed the file; then it protects nothing.
            if !same_file(&file, &path) {
                continue;
            }
            // Who it is matters only to the message that another writer gets.
            let note = format!("process {}\n", std::process::id());
            let _ = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| file.write_all(note.as_bytes()));
            return Ok(Self { path, file });
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        if cfg!(unix) {
            remove_quietly(&self.path);
        }
        let _ = self.file.unlock();
    }
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(named)) => (ours.dev(), ours.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_file(_: &File, _: &Path) -> bool {
    true // an open file cannot be removed there
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        atomic_write(&path, b"one").unwrap();
        atomic_write(&path, b"two, and longer").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two, and longer");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::create_dir(&path).unwrap(); // a folder of that name: the rename must fail
        std::fs::write(path.join("inside"), b"x").unwrap();
        assert!(matches!(atomic_write(&path, b"new"), Err(Error::Io { .. })));
        assert_eq!(names(folder.path()), ["file"]);
        let missing = folder.path().join("no/such/folder/file");
        assert!(matches!(
            atomic_write(&missing, b"new"),
            Err(Error::Io { .. })
        ));
        assert!(matches!(
            atomic_write(Path::new("/"), b"new"),
            Err(Error::Io { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, b"old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        atomic_write(&link, b"new").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_second_writer_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take(folder.path()).unwrap();
        match FolderLock::take(folder.path()) {
            Err(Error::ShardLocked { owner, .. }) => {
                assert_eq!(owner, format!("process {}", std::process::id()));
            }
            other => panic!("{other:?}"),
        }
        drop(first);
        drop(FolderLock::take(folder.path()).unwrap());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_lock_left_by_a_killed_writer_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(LOCK_NAME), "process 1\n").unwrap();
        FolderLock::take(folder.path()).unwrap();
    }
}
