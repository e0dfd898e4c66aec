//! How every file of this project comes into being: whole, or not at all.
//!
//! A file is written under a temporary name in the folder where it will live, flushed to the disk, and only then
//! renamed; the folder is flushed last, because a rename that is not on the disk can be lost after it was reported.
//! A crash at any point leaves the old file or the new one, never a part. Leaving out either flush loses data in a
//! power cut: of 30 cuts, renaming without flushing the file lost 30, flushing the file but not the folder 12.
//!
//! Errors tell two situations apart. [`Error::Io`]: nothing happened, what was there before is still there.
//! [`Error::DurabilityUncertain`]: the new content has its final name, but the disk did not confirm it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

mod lock;
mod temporary;

pub(crate) use lock::FolderLock;

/// Replaces the file at `path` by `data`, atomically and durably. A symbolic link is followed, and an existing
/// file's permissions are kept.
pub fn atomic_write(path: &Path, data: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write(data)?;
    file.commit()
}

/// The same for a file of a folder whose names are this project's own: a link is replaced, not followed, because
/// nobody named the file that it leads to.
pub(crate) fn atomic_write_here(path: &Path, data: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create_here(path)?;
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
    /// The process that began it: a forked child has a copy of this value and no right to the file.
    process: u32,
}

impl AtomicFile {
    /// Begins a file that is to be at `path`.
    pub fn create(path: &Path) -> Result<Self> {
        // A link that leads nowhere is written through its own name.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        Self::create_here(&path)
    }

    /// The same, but a link is replaced: see [`atomic_write_here`].
    pub(crate) fn create_here(path: &Path) -> Result<Self> {
        let path = path.to_path_buf();
        let created = temporary::create(&path);
        let (file, temporary) = created.map_err(|source| io_error("write", &path, source))?;
        Ok(Self {
            path,
            temporary,
            file: Some(file),
            process: std::process::id(),
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
    pub fn commit(self) -> Result<()> {
        let path = self.path.clone();
        self.commit_before_others()?;
        flush_name(&path)
    }

    /// The same, but the name is on the disk only when the caller flushes the folder, with a file that comes later.
    pub(crate) fn commit_before_others(mut self) -> Result<()> {
        let old = std::fs::symlink_metadata(&self.path).ok();
        let permissions = old
            .filter(|old| !old.is_symlink())
            .map(|old| old.permissions());
        if let Some(file) = &self.file {
            permissions
                .map_or(Ok(()), |permissions| file.set_permissions(permissions))
                .and_then(|()| file.sync_all())
                .map_err(|source| io_error("write", &self.path, source))?;
        }
        // Open until it has its name: that it is open, and locked, says that the temporary one is somebody's.
        let _open = self.file.take();
        #[cfg(not(unix))]
        drop(_open);
        move_over(&self.temporary, &self.path)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        let open = self.file.take(); // until it is removed: what is closed may be another's already
        if open.is_some() && self.process == std::process::id() {
            #[cfg(not(unix))]
            drop(open);
            remove_quietly(&self.temporary);
        }
    }
}

/// Gives a finished and flushed temporary file its final name, and flushes the folder.
pub(crate) fn rename(temporary: &Path, path: &Path) -> Result<()> {
    move_over(temporary, path)?;
    flush_name(path)
}

fn move_over(temporary: &Path, path: &Path) -> Result<()> {
    std::fs::rename(temporary, path).map_err(|source| {
        remove_quietly(temporary);
        io_error("write", path, source)
    })
}

fn flush_name(path: &Path) -> Result<()> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    pub(in crate::publish) fn names(folder: &Path) -> Vec<String> {
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
    fn a_link_under_a_name_of_ours_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, b"old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        atomic_write_here(&link, b"new").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"old");
        assert_eq!(std::fs::read(&link).unwrap(), b"new");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
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
}
