//! Reads a shard from its first byte to its last and checks everything that can be checked.
//!
//! One pass in 1 MiB steps with plain reads, so neither memory nor a file that shrinks meanwhile is a danger.

use std::io::{self, Read};
use std::path::Path;

use super::block::check_block;
use super::disk;
use super::format::{BLOCK_BYTES, HEADER_BYTES, corrupt};
use super::header::{Header, Parsed};
use super::sidecar::Sidecar;
use crate::publish::io_error;
use crate::{Error, Result};

/// Checks the `.bin` file at `path` and the sidecar beside it; `report` is told of each block how many bytes it has.
pub(crate) fn check_shard_files(path: &Path, report: impl FnMut(u64)) -> Result<Header> {
    let (file, metadata) = disk::open(path)?;
    check_shard(file, metadata.len(), path, &read_sidecar(path)?, report)
}

/// The bytes of the sidecar of a `.bin` file.
pub(crate) fn read_sidecar(path: &Path) -> Result<Vec<u8>> {
    disk::read_whole(&path.with_extension("gbx"))
}

/// Checks a shard of `length` bytes.
pub(crate) fn check_shard(
    mut bin: impl Read,
    length: u64,
    path: &Path,
    sidecar: &[u8],
    mut report: impl FnMut(u64),
) -> Result<Header> {
    let mut read = |buffer: &mut [u8]| match bin.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Error::ShardTruncated {
            path: path.to_path_buf(),
            expected: length.max(HEADER_BYTES as u64),
            found: length,
        }),
        other => other.map_err(|source| io_error("read", path, source)),
    };
    let mut bytes = [0; HEADER_BYTES];
    read(&mut bytes)?;
    let Parsed::Ours(header) = Header::parse(&bytes, path)? else {
        return Err(corrupt(
            path,
            12,
            "a file of llm.c's without checksums; there is nothing to check",
        ));
    };
    check_length(path, header.file_bytes(), length)?;
    let sidecar = Sidecar::parse(sidecar, &header, &path.with_extension("gbx"))?;
    let mut digest = xxhash_rust::xxh3::Xxh3::new();
    let mut buffer = vec![0; BLOCK_BYTES];
    let mut left = length - HEADER_BYTES as u64;
    for (number, &sum) in sidecar.block_sums.iter().enumerate() {
        let block = &mut buffer[..left.min(BLOCK_BYTES as u64) as usize];
        read(block)?;
        check_block(block, number, sum, &header, path)?;
        digest.update(block);
        left -= block.len() as u64;
        report(block.len() as u64);
    }
    if digest.digest128().to_le_bytes() != header.tokens_digest {
        let what = "the tokens differ from the checksum in the header";
        return Err(corrupt(path, HEADER_BYTES as u64, what));
    }
    Ok(*header)
}

/// A file that is not exactly as long as it should be is not looked at any further.
pub(crate) fn check_length(path: &Path, expected: u64, found: u64) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::ShardTruncated {
        path: path.to_path_buf(),
        expected,
        found,
    })
}
