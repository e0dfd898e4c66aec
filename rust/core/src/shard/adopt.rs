//! A finished shard of another folder becomes a shard of this dataset, without a copy of its tokens.
//!
//! The header of a shard holds its number in the dataset, and its id and its sidecar depend on the header. So these are
//! written anew: the `.bin` file gets a second name (a hard link) and another header, and the sidecar another file. The result is,
//! byte for byte, the shard that a writer makes of the same documents under this number.
//!
//! The header that the file had is stored beside it before it is replaced (`.head`). So an interrupted adoption can be repeated, also
//! when the new header was torn by a power cut, and the first name still leads to everything that is needed. Where the
//! file system has no hard links the file is copied.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::disk;
use super::folder::Folder;
use super::format::{HEADER_BYTES, corrupt};
use super::header::{Header, Parsed};
use super::manifest::ShardEntry;
use super::names::temporary;
use super::open_shard::{Stamp, identify};
use super::sidecar::Sidecar;
use super::source::read_header;
use super::verify::{check_length, read_sidecar};
use crate::publish::{AtomicFile, atomic_write_here, io_error, rename};
use crate::{Error, Result};

/// Makes the shard at `from` shard number `index` of a folder, under that name. The stamp of both must be the same.
pub(super) fn adopt(
    from: &Path,
    folder: &Folder,
    name: &str,
    index: u32,
    stamp: &Stamp,
) -> Result<ShardEntry> {
    let old = header_of(from, stamp)?;
    let sidecar = Sidecar::parse(&read_sidecar(from)?, &old, &from.with_extension("gbx"))?;
    let mut header = Header { index, ..old };
    let sidecar = identify(&mut header, &sidecar);

    let (path, temporary) = (folder.join(name), folder.join(&temporary(name)));
    for path in [&path, &temporary] {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io_error("replace", path, error));
            }
            _ => {}
        }
    }
    let failed = |source| io_error("write", &path, source);
    if std::fs::hard_link(from, &temporary).is_err() {
        std::fs::copy(from, &temporary).map_err(failed)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(&header.to_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    let mut written = AtomicFile::create_here(&path.with_extension("gbx"))?;
    written.write(&sidecar)?;
    written.commit_before_others()?;
    rename(&temporary, &path)?;
    Ok(ShardEntry::new(name.to_owned(), &header))
}

/// The header that a shard was written with, after it was stored beside the shard.
fn header_of(from: &Path, stamp: &Stamp) -> Result<Header> {
    let (file, metadata) = disk::open(from)?;
    let stored = from.with_extension("head");
    let kept = match disk::read_whole(&stored) {
        Ok(bytes) => Some(bytes),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let parsed = match &kept {
        Some(bytes) => {
            let bytes: Option<&[u8; HEADER_BYTES]> = bytes.as_slice().try_into().ok();
            let bytes = bytes.ok_or_else(|| corrupt(&stored, 0, "this is no header of a shard"))?;
            Header::parse(bytes, &stored)?
        }
        None => read_header(&file, &metadata, from)?,
    };
    let Parsed::Ours(header) = parsed else {
        return Err(corrupt(from, 12, "it is no shard of this project"));
    };
    let (fingerprint, work) = (stamp.fingerprint, stamp.work);
    if header.vocab_size != stamp.vocab_size
        || (header.bos, header.eos) != (stamp.bos, stamp.eos)
        || (header.fingerprint, header.work) != (fingerprint, work)
    {
        return Err(corrupt(from, 0, "it is a shard of other work"));
    }
    check_length(from, header.file_bytes(), metadata.len())?;
    if kept.is_none() {
        atomic_write_here(&stored, &header.to_bytes())?;
    }
    Ok(*header)
}
