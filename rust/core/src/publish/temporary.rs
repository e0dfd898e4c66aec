//! The temporary file in which a new one is written, beside its target.
//!
//! Its name is `.NAME.tmp-0`, or `-1`, `-2`, … where several write the same file at once. It is locked as long as
//! somebody writes it, so the next writer knows the file of one that was killed, and removes it: at most as many are
//! left as were killed at the same time, and none after the next save. Unique names, the other way, would have to be
//! searched for in the whole folder, which is slow where a dataset has 10,000 shards.
//!
//! Where the file system has no locks, and where an open file cannot be renamed (Windows), names are unique, and what
//! a killed writer leaves stays.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{create_new, parent, remove_quietly};

/// Writers of one file at once before names are unique ones.
const SLOTS: u32 = 64;
/// A longer name is shortened in that of the temporary file: file systems allow 255 bytes.
const NAME_BYTES: usize = 200;

/// Creates the temporary file for a file that is to be at `path`.
pub(super) fn create(path: &Path) -> io::Result<(File, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let begin = beginning(path)?;
    if cfg!(unix) {
        for slot in 0..SLOTS {
            let temporary = named(path, &begin, format_args!("{slot}"));
            match create_locked(&temporary)? {
                Slot::Mine(file) => return Ok((file, temporary)),
                Slot::Taken => {}
                Slot::NoLocks => break,
            }
        }
    }
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let temporary = named(path, &begin, format_args!("{process}-{number}"));
    create_new(&temporary).map(|file| (file, temporary))
}

/// What became of the wish for a name.
enum Slot {
    /// The file with that name, locked.
    Mine(File),
    /// Another writer has it.
    Taken,
    /// The file system has no locks.
    NoLocks,
}

fn create_locked(temporary: &Path) -> io::Result<Slot> {
    // Twice: with the file of a killed writer out of the way, the name is free.
    for _ in 0..2 {
        let file = match create_new(temporary) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if remove_if_dead(temporary) {
                    continue;
                }
                return Ok(Slot::Taken);
            }
            Err(error) => return Err(error),
        };
        return Ok(match file.try_lock() {
            Ok(()) if same_file(&file, temporary) => Slot::Mine(file),
            // Another writer took it for one that was left behind, and removes it.
            Ok(()) | Err(TryLockError::WouldBlock) => Slot::Taken,
            Err(TryLockError::Error(_)) => {
                remove_quietly(temporary);
                Slot::NoLocks
            }
        });
    }
    Ok(Slot::Taken)
}

/// Removes what a killed writer left under that name; false where somebody writes it.
fn remove_if_dead(temporary: &Path) -> bool {
    let Ok(file) = open_plain(temporary) else {
        return false;
    };
    // Its writer may have renamed it meanwhile: then this is the finished file.
    let dead = file.try_lock().is_ok() && same_file(&file, temporary);
    dead && std::fs::remove_file(temporary).is_ok()
}

/// Opens a plain file, not through a link; neither a pipe nor a device is waited for.
fn open_plain(path: &Path) -> io::Result<File> {
    let open = |write: bool| {
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        }
        options.open(path)
    };
    let file = open(true).or_else(|_| open(false))?; // NFS locks what can be written only
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Whether `path` is the name of the open file, still.
#[cfg(unix)]
pub(super) fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(named)) => (ours.dev(), ours.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
pub(super) fn same_file(_: &File, _: &Path) -> bool {
    true // an open file cannot be removed there
}

/// The target's name, as far as it stands in the temporary one.
fn beginning(path: &Path) -> io::Result<std::ffi::OsString> {
    let Some(name) = path.file_name() else {
        let what = "the path names no file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    };
    if name.len() <= NAME_BYTES {
        return Ok(name.to_owned());
    }
    let sum = xxhash_rust::xxh3::xxh3_64(name.as_encoded_bytes());
    Ok(format!("{sum:016x}").into())
}

/// A hidden name in the folder of `path`.
fn named(path: &Path, begin: &std::ffi::OsStr, end: std::fmt::Arguments<'_>) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(begin);
    name.push(format!(".tmp-{end}"));
    parent(path).join(name)
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::publish::tests::names;
    use crate::publish::{AtomicFile, atomic_write};

    #[test]
    fn what_a_killed_writer_left_is_removed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        for left in [".file.tmp-0", ".file.tmp-1"] {
            std::fs::write(folder.path().join(left), b"half").unwrap();
        }
        let path = folder.path().join("file");
        let first = AtomicFile::create(&path).unwrap();
        let second = AtomicFile::create(&path).unwrap();
        assert_eq!(names(folder.path()), [".file.tmp-0", ".file.tmp-1"]);
        drop((first, second));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn those_who_write_one_file_at_once_have_a_file_each() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut files: Vec<_> = (0..100)
            .map(|_| AtomicFile::create(&path).unwrap())
            .collect();
        assert_eq!(names(folder.path()).len(), 100);
        for (number, file) in files.iter_mut().enumerate() {
            file.write(&[number as u8; 9]).unwrap();
        }
        for (number, file) in files.into_iter().enumerate() {
            file.commit().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), [number as u8; 9]);
        }
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn many_threads_save_one_file_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::thread::scope(|scope| {
            for number in 0..4_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..50 {
                        atomic_write(path, &[number; 999]).unwrap();
                        let found = std::fs::read(path).unwrap();
                        assert_eq!(found, [found[0]; 999]);
                    }
                });
            }
        });
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn links_and_folders_in_the_way_stay() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("precious");
        std::fs::write(&precious, "data").unwrap();
        std::os::unix::fs::symlink(&precious, folder.path().join(".file.tmp-0")).unwrap();
        std::fs::create_dir(folder.path().join(".file.tmp-1")).unwrap();
        atomic_write(&folder.path().join("file"), b"new").unwrap();
        assert_eq!(std::fs::read(&precious).unwrap(), b"data");
        assert_eq!(
            names(folder.path()),
            [".file.tmp-0", ".file.tmp-1", "file", "precious"]
        );
    }

    #[test]
    fn the_longest_name_that_a_file_system_allows() {
        let folder = tempfile::tempdir().unwrap();
        let name = "n".repeat(255);
        atomic_write(&folder.path().join(&name), b"new").unwrap();
        assert_eq!(names(folder.path()), [name]);
    }
}
