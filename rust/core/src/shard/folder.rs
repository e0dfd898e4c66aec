//! What stands in a dataset's folder, and taking things out of it.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::disk::{self, Io};
use super::format::{HEADER_BYTES, hex};
use super::header::{Header, Parsed};
use super::manifest::{Manifest, TOKENIZER_NAME};
use super::names::{Names, is_token_file};
use super::verify::check_shard_files;
use crate::publish::io_error;
use crate::{Error, Result};

/// The folder of a dataset.
#[derive(Clone, Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names of all files; those that are no Unicode are nobody's here.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let failed = |source| io_error("read", &self.0, source);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }

    pub(super) fn remove(&self, unwanted: impl Fn(&str) -> bool) -> Result<()> {
        for name in self.names()?.into_iter().filter(|name| unwanted(name)) {
            let path = self.join(&name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("remove", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The bytes of a file, None without one.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match disk::read_whole(&self.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether there are files with the names of shards.
    pub(super) fn has_shards(&self, names: Names) -> Result<bool> {
        let there = self.names()?;
        Ok(there.iter().any(|name| names.shard_number(name).is_some()))
    }

    /// Whether all token files with the names of shards are this project's, and none is known to be of other work.
    pub(super) fn is_of(&self, names: Names, work: [u8; 16]) -> Result<bool> {
        let there = self.names()?;
        let mut tokens = there
            .iter()
            .filter(|name| names.shard_number(name).is_some() && is_token_file(name));
        Ok(tokens.all(|name| is_of(&self.join(name), work)))
    }

    /// The header of a shard of this work that is whole.
    pub(super) fn valid_shard(&self, names: Names, index: u32, work: [u8; 16]) -> Option<Header> {
        let header = check_shard_files(&self.join(&names.shard(index)), Io::Pread, |_| ()).ok()?;
        (header.work == work && header.index == index).then_some(header)
    }

    /// Whether all that a manifest lists is there and undamaged.
    pub(super) fn is_whole(&self, manifest: &Manifest) -> bool {
        let tokenizer = &manifest.tokenizer;
        let name = tokenizer.file.as_deref().unwrap_or(TOKENIZER_NAME);
        let with_tokenizer = tokenizer.sha256.as_ref().is_none_or(|sha256| {
            let stored = self.read(name).ok().flatten();
            stored.is_some_and(|json| hex(&Sha256::digest(&json)) == *sha256)
        });
        with_tokenizer
            && manifest.shards.iter().all(|entry| {
                let path = self.join(&entry.file);
                check_shard_files(&path, Io::Pread, |_| ())
                    .is_ok_and(|header| entry.check(&header, &path).is_ok())
            })
    }
}

fn is_of(path: &Path, work: [u8; 16]) -> bool {
    let mut head = [0; HEADER_BYTES];
    let opened = disk::open(path).ok();
    let read = opened.and_then(|(file, _)| disk::read_exact_at(&file, &mut head, 0).ok());
    if read.is_none() || head[12..16] != *b"GBT1" {
        return false;
    }
    // A shard of ours whose header is damaged may be replaced by the one that it should have been.
    !matches!(Header::parse(&head, path), Ok(Parsed::Ours(header)) if header.work != work)
}
