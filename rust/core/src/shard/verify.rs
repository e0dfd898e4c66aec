//! Reads a shard from its first byte to its last and checks everything that can be checked.
//!
//! Each byte of tokens is read once from memory, for both checksums and the vocabulary ([`Sums`]): over a map, without
//! a copy, or with plain reads into a buffer that stays in the cache. Neither a large file nor one that
//! shrinks meanwhile is a danger.

use std::fs::File;
use std::io;
use std::path::Path;

use super::block::check_sum;
use super::disk::{self, Io};
use super::format::{BLOCK_BYTES, HEADER_BYTES, corrupt};
use super::header::{Header, Parsed};
use super::map::{CutOff, Map};
use super::sidecar::Sidecar;
use super::sums::Sums;
use crate::publish::io_error;
use crate::{Error, Result};

/// Bytes that are read at a time where there is no map: they fit in a second-level cache.
const TILE_BYTES: usize = 64 << 10;

/// Checks the `.bin` file at `path` and the sidecar beside it; `report` is told of each block how many bytes it has.
pub(crate) fn check_shard_files(path: &Path, io: Io, report: impl FnMut(u64)) -> Result<Header> {
    let (file, metadata) = disk::open(path)?;
    let length = metadata.len();
    let bin = FileStream {
        map: match io {
            Io::Map => Map::for_all(&file, length),
            Io::Pread => None,
        },
        file,
        length,
        at: 0,
        tile: Vec::new(),
    };
    check_shard(bin, path, &read_sidecar(path)?, report)
}

/// The bytes of the sidecar of a `.bin` file.
pub(crate) fn read_sidecar(path: &Path) -> Result<Vec<u8>> {
    disk::read_whole(&path.with_extension("gbx"))
}

/// A `.bin` file that is read from its beginning to its end.
pub(crate) trait Stream {
    /// How long it is now, or was when it was opened.
    fn length(&self) -> u64;
    /// Fills `out` with the next bytes.
    fn read(&mut self, out: &mut [u8]) -> io::Result<()>;
    /// Adds the next bytes to checksums.
    fn sum(&mut self, count: usize, sums: &mut Sums) -> io::Result<()>;
}

impl Stream for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<()> {
        io::Read::read_exact(self, out)
    }

    fn sum(&mut self, count: usize, sums: &mut Sums) -> io::Result<()> {
        let (now, later) = self
            .split_at_checked(count)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        sums.update(now);
        *self = later;
        Ok(())
    }
}

struct FileStream {
    file: File,
    length: u64,
    /// None where there is none, or not any more.
    map: Option<Map>,
    at: u64,
    tile: Vec<u8>,
}

impl Stream for FileStream {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<()> {
        disk::read_exact_at(&self.file, out, self.at)?;
        self.at += out.len() as u64;
        Ok(())
    }

    fn sum(&mut self, count: usize, sums: &mut Sums) -> io::Result<()> {
        let end = self.at + count as u64;
        if let Some(map) = self.map.as_ref().filter(|map| map.holds(end)) {
            let before = sums.clone();
            if let Err(CutOff) = map.sum(self.at, count, sums) {
                // Reading tells what is wrong: the file was cut off, or the disk is broken.
                *sums = before;
                self.map = None;
            } else {
                self.at = end;
            }
        }
        while self.at < end {
            let mut tile = std::mem::take(&mut self.tile);
            tile.resize((end - self.at).min(TILE_BYTES as u64) as usize, 0);
            self.read(&mut tile)?;
            sums.update(&tile);
            self.tile = tile;
        }
        Ok(())
    }
}

/// Checks a shard.
pub(crate) fn check_shard(
    mut bin: impl Stream,
    path: &Path,
    sidecar: &[u8],
    mut report: impl FnMut(u64),
) -> Result<Header> {
    let length = bin.length();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::ShardTruncated {
            path: path.to_path_buf(),
            expected: length.max(HEADER_BYTES as u64),
            found: std::fs::metadata(path).map_or(length, |metadata| metadata.len()),
        },
        _ => io_error("read", path, error),
    };
    let mut bytes = [0; HEADER_BYTES];
    bin.read(&mut bytes).map_err(failed)?;
    let Parsed::Ours(header) = Header::parse(&bytes, path)? else {
        return Err(corrupt(
            path,
            12,
            "a file of llm.c's without checksums; there is nothing to check",
        ));
    };
    check_length(path, header.file_bytes(), length)?;
    let sidecar = Sidecar::parse(sidecar, &header, &path.with_extension("gbx"))?;
    let mut sums = Sums::new(header.token_type);
    let mut left = length - HEADER_BYTES as u64;
    for (number, &sum) in sidecar.block_sums.iter().enumerate() {
        let count = left.min(BLOCK_BYTES as u64);
        bin.sum(count as usize, &mut sums).map_err(failed)?;
        check_sum(sums.end_block(), number, sum, &header, path)?;
        left -= count;
        report(count);
    }
    if sums.digest() != header.tokens_digest {
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
