//! One folder has one writer at a time.
//!
//! The lock is the operating system's, on a file of the folder, so a killed writer leaves none behind. Where the file
//! system has no locks (some parallel file systems) there is no protection, and no failure.
//!
//! The file says which process holds the lock. Its name is this project's own, a link of that name is not followed, and
//! a file that says anything else is neither changed nor removed. A forked child has the parent's lock by inheritance
//! and leaves it as it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::temporary::same_file;
use super::{io_error, remove_quietly};
use crate::{Error, Result};

/// The right to write in a folder, held until it is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    path: PathBuf,
    file: File,
    /// The process that took it.
    process: u32,
    /// Whether the file is this project's, to be removed at the end.
    ours: bool,
}

/// The lock's file while somebody writes in the folder.
pub(crate) const LOCK_NAME: &str = ".gptbpe.lock";

impl FolderLock {
    /// Takes the lock, or says at once who has it.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK_NAME);
        loop {
            let mut file = open(&path).map_err(|source| io_error("lock", &path, source))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::ShardLocked {
                        path: folder.to_path_buf(),
                        owner: note(&mut file).trim().to_owned(),
                    });
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(source)) => return Err(io_error("lock", &path, source)),
            }
            // Between our open and our lock the last owner may have removed the file; then it protects nothing.
            if !same_file(&file, &path) {
                continue;
            }
            let process = std::process::id();
            let ours = is_note(&note(&mut file));
            if ours {
                // Who it is matters only to the message that another writer gets.
                let _ = file
                    .set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| file.write_all(format!("process {process}\n").as_bytes()));
            }
            return Ok(Self {
                path,
                file,
                process,
                ours,
            });
        }
    }

    /// Whether this process took it. A child that was forked meanwhile did not.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            return; // unlocking here would unlock it for the parent, too
        }
        if cfg!(unix) && self.ours {
            remove_quietly(&self.path);
        }
        let _ = self.file.unlock();
    }
}

/// Opens or makes the file; a link is an error, and so is what is no plain file.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        let what = "the lock is no plain file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(file)
}

/// What the file says, as far as a note goes.
fn note(file: &mut File) -> String {
    let mut note = Vec::new();
    let _ = file
        .rewind()
        .and_then(|()| file.take(100).read_to_end(&mut note));
    String::from_utf8_lossy(&note).into_owned()
}

/// Whether a writer of this project left that in the file; it may have ended before it wrote anything.
fn is_note(note: &str) -> bool {
    let process = note
        .strip_prefix("process ")
        .and_then(|rest| rest.strip_suffix('\n'));
    note.is_empty() || process.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::publish::tests::names;

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
        for left in ["process 1\n", ""] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(LOCK_NAME), left).unwrap();
            drop(FolderLock::take(folder.path()).unwrap());
            assert!(names(folder.path()).is_empty());
        }
    }

    #[test]
    fn a_file_of_another_program_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for name in [LOCK_NAME, ".lock"] {
            let path = folder.path().join(name);
            for content in ["pid 7, started by somebody else", "process seven\n"] {
                std::fs::write(&path, content).unwrap();
                drop(FolderLock::take(folder.path()).unwrap());
                assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("precious");
        std::fs::write(&target, "data").unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join(LOCK_NAME)).unwrap();
        let error = FolderLock::take(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Io { action: "lock", .. }));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "data");
    }
}
