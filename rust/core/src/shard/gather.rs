//! Reads the tokens of rows, from any shard, thousands of times a second.
//!
//! Rows are read into a buffer with positioned reads, also where the reader maps its shards: a read of a few kilobytes from
//! the page cache costs a tenth of widening them, and a file that is cut off under it is an error, where a map would end the
//! process. Files stay open, [`OPEN_FILES`] of them. A file is opened once its length is right and its header is the one that the
//! manifest lists, and it stays that file even if another one takes its name.
//!
//! The first touch of each 1 MiB block goes through [`ShardReader::tokens`], which checks what the reader was told to check; a
//! bit per block remembers it. So a row costs one system call, and no lock is waited for.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::{BLOCK_BYTES, HEADER_BYTES, corrupt, hex};
use super::reader::ShardReader;
use super::recent::Recent;
use crate::publish::io_error;
use crate::{Error, Result};

/// Shards that are kept open.
const OPEN_FILES: usize = 256;

/// Reads rows of a dataset; can be shared among threads.
#[derive(Debug)]
pub(crate) struct Gather {
    reader: Arc<ShardReader>,
    /// Blocks before each shard.
    blocks: Vec<u64>,
    /// A bit for each block that was touched before.
    touched: Box<[AtomicU64]>,
    files: Recent<usize, ShardFile>,
}

#[derive(Debug)]
struct ShardFile {
    file: File,
    /// Bytes before the first token.
    offset: u64,
}

/// What a thread that reads rows keeps from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    files: Vec<(usize, Arc<ShardFile>)>,
    bytes: Vec<u8>,
}

impl Gather {
    pub(crate) fn new(reader: Arc<ShardReader>) -> Self {
        let width = reader.token_type().bytes() as u64;
        let mut total = 0;
        let before = (0..reader.shards()).map(|shard| {
            let before = total;
            total += (reader.shard_tokens(shard) * width).div_ceil(BLOCK_BYTES as u64);
            before
        });
        let blocks = before.collect();
        let words = total.div_ceil(64) as usize;
        Self {
            reader,
            blocks,
            touched: std::iter::repeat_with(AtomicU64::default)
                .take(words)
                .collect(),
            files: Recent::new(OPEN_FILES),
        }
    }

    pub(crate) fn reader(&self) -> &Arc<ShardReader> {
        &self.reader
    }

    /// Tokens `start..start + count` of a shard as they stand on disk. They must be there by the reader's word.
    pub(crate) fn tokens<'o>(
        &self,
        shard: usize,
        start: u64,
        count: usize,
        opened: &'o mut Opened,
    ) -> Result<&'o [u8]> {
        let width = self.reader.token_type().bytes();
        self.touch(shard, start, start + count as u64)?;
        let at = match opened.files.iter().position(|(other, _)| *other == shard) {
            Some(at) => at,
            None => {
                const MOST: usize = 8; // more would take longer to look through than to ask for
                let make = || ShardFile::open(&self.reader, shard);
                let file = self.files.get_or_make(&shard, |_| 1, make)?;
                if opened.files.len() == MOST {
                    opened.files.remove(0);
                }
                opened.files.push((shard, file));
                opened.files.len() - 1
            }
        };
        let length = count * width;
        if opened.bytes.len() < length {
            opened.bytes.resize(length, 0);
        }
        let bytes = &mut opened.bytes[..length];
        let file = &opened.files[at].1;
        read_exact_at(&file.file, bytes, file.offset + start * width as u64)
            .map_err(|error| self.failed(shard, file, error))?;
        Ok(bytes)
    }

    /// Refuses a token outside the vocabulary: it would end as an assertion inside a GPU kernel, far from here.
    pub(crate) fn check(&self, shard: usize, start: u64, largest: u32) -> Result<()> {
        match self.reader.vocab_size() {
            Some(vocab_size) if largest >= vocab_size => {
                let path = self.reader.shard_path(shard).unwrap_or(Path::new(""));
                let offset = HEADER_BYTES as u64 + start * self.reader.token_type().bytes() as u64;
                let what = format!("a token of {largest}, the vocabulary has {vocab_size}");
                Err(corrupt(path, offset, what))
            }
            _ => Ok(()),
        }
    }

    /// Has the reader check the blocks of a range that were not touched before.
    fn touch(&self, shard: usize, start: u64, stop: u64) -> Result<()> {
        let width = self.reader.token_type().bytes() as u64;
        let block = |token: u64| self.blocks[shard] + token * width / BLOCK_BYTES as u64;
        let range = block(start)..=block(stop.max(start + 1) - 1);
        let bit = |block: u64| (&self.touched[block as usize / 64], 1 << (block % 64));
        let known = range.clone().all(|block| {
            let (word, bit) = bit(block);
            word.load(Ordering::Relaxed) & bit != 0
        });
        if !known {
            self.reader.tokens(shard, start, stop)?;
            for block in range {
                let (word, bit) = bit(block);
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn failed(&self, shard: usize, shard_file: &ShardFile, error: std::io::Error) -> Error {
        let path = self.reader.shard_path(shard).unwrap_or(Path::new(""));
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            let width = self.reader.token_type().bytes() as u64;
            return Error::ShardTruncated {
                path: path.to_path_buf(),
                expected: shard_file.offset + self.reader.shard_tokens(shard) * width,
                found: shard_file.file.metadata().map_or(0, |m| m.len()),
            };
        }
        io_error("read", path, error)
    }
}

impl ShardFile {
    /// Opens a shard that the reader knows.
    fn open(reader: &ShardReader, shard: usize) -> Result<Self> {
        let path = reader.shard_path(shard).unwrap_or(Path::new(""));
        let failed = |error| io_error("read", path, error);
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        let tokens = reader.shard_tokens(shard) * reader.token_type().bytes() as u64;
        let header = HEADER_BYTES as u64;
        let offset = match found.checked_sub(tokens) {
            Some(0) if reader.manifest().is_none() => 0, // a raw array
            Some(offset) if offset == header => header,
            _ => {
                return Err(Error::ShardTruncated {
                    path: path.to_path_buf(),
                    expected: header + tokens,
                    found,
                });
            }
        };
        if let Some(listed) = reader.manifest().and_then(|m| m.shards.get(shard)) {
            let mut bytes = [0; HEADER_BYTES];
            read_exact_at(&file, &mut bytes, 0).map_err(failed)?;
            let (header, sum) = bytes.split_at(HEADER_BYTES - 4);
            if crc32c::crc32c(header).to_le_bytes() != sum || hex(sum) != listed.header_crc32c {
                return Err(corrupt(path, 0, "its header differs from the manifest"));
            }
        }
        Ok(Self { file, offset })
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !out.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, out, offset)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        out = &mut out[count..];
        offset += count as u64;
    }
    Ok(())
}
