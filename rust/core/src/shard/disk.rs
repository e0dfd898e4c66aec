//! Opening and reading the files of a dataset, none of which may be more than a plain file.
//!
//! Here files are read with `pread`: a read copies, and what is missing is an error. Maps are in [`map`](super::map).

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use crate::publish::io_error;
use crate::{Error, Result};

/// How tokens are read from files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Through memory maps, where the system has them.
    Map,
    /// With a system call for each row: for network file systems, whose maps may hang or go stale.
    Pread,
}

/// Opens a file for reading. A FIFO or a device is an error; opening it would wait, or never end.
pub(super) fn open(path: &Path) -> Result<(File, Metadata)> {
    let opened = open_without_waiting(path).and_then(|file| {
        let metadata = file.metadata()?;
        if metadata.is_file() || metadata.is_dir() {
            Ok((file, metadata)) // reading a folder gives the system's own error
        } else {
            let what = "this is no plain file";
            Err(io::Error::new(io::ErrorKind::InvalidInput, what))
        }
    });
    opened.map_err(|source| io_error("read", path, source))
}

#[cfg(unix)]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

#[cfg(not(unix))]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// All of a small file.
pub(super) fn read_whole(path: &Path) -> Result<Vec<u8>> {
    let (mut file, metadata) = open(path)?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(metadata.len() as usize)
        .map_err(|_| Error::OutOfMemory {
            bytes: metadata.len() as usize,
        })?;
    file.read_to_end(&mut bytes)
        .map_err(|source| io_error("read", path, source))?;
    Ok(bytes)
}

/// Reads bytes `range` of a file into `out`, which gets just that size; fewer bytes are an error, never silence.
pub(super) fn read_range(
    file: &File,
    path: &Path,
    range: (u64, u64),
    out: &mut Vec<u8>,
) -> Result<()> {
    out.resize((range.1 - range.0) as usize, 0);
    match read_exact_at(file, out, range.0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Error::ShardTruncated {
            path: path.to_path_buf(),
            expected: range.1,
            found: file.metadata().map_or(0, |metadata| metadata.len()),
        }),
        other => other.map_err(|source| io_error("read", path, source)),
    }
}

#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
pub(super) fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, out, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out = &mut out[count..];
        offset += count as u64;
    }
    Ok(())
}

/// Tells a file from another one that took its name. Not every system has such a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(Option<(u64, u64)>);

impl Identity {
    #[cfg(unix)]
    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(Some((metadata.dev(), metadata.ino())))
    }

    #[cfg(not(unix))]
    pub(super) fn of(_: &Metadata) -> Self {
        Self(None)
    }
}
