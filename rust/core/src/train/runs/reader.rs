//! Reading a run: one block in memory, every byte checked.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::format::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, LEAST_WORD_BYTES, PREFIX_BYTES, RunHeader, RunTotals,
    SUM_BYTES, TRAILER_BYTES, Trailer, block_sizes, block_sum, chained, damaged, u32_at, u64_at,
    varint,
};
use super::temporary::Remove;
use crate::publish::io_error;
use crate::{Error, Result};

/// A word of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted<'w> {
    /// The word.
    pub word: &'w [u8],
    /// How often it occurs.
    pub count: u64,
    /// Of two words the one with the smaller place occurs first.
    pub place: u64,
}

/// Reads a file of counts from its first word to its last; see [`super::RunWriter`] for an example.
#[derive(Debug)]
pub struct RunReader {
    file: File,
    path: PathBuf,
    header: RunHeader,
    trailer: Trailer,
    /// Where the first block begins.
    first_block: u64,
    /// Where the next block begins.
    next_block: u64,
    /// Where the present one begins.
    offset: u64,
    block: Vec<u8>,
    /// How much of the block has been read.
    at: usize,
    words_left: u32,
    word: Vec<u8>,
    count: u64,
    place: u64,
    /// What has been read so far; in the end it must be what the trailer says.
    read: RunTotals,
    blocks_sum: u64,
    /// Takes a temporary file away after it is closed.
    _remove: Option<Remove>,
}

impl RunReader {
    /// Opens a file and checks its header, its trailer and its size.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| io_error("read", path, source))?;
        // A pipe has no end to look at, and reading a folder has an error of its own.
        let metadata = file
            .metadata()
            .map_err(|source| io_error("read", path, source))?;
        if !metadata.is_file() && !metadata.is_dir() {
            let source = io::Error::new(
                io::ErrorKind::InvalidInput,
                "counts are read from files, not from pipes and devices",
            );
            return Err(io_error("read", path, source));
        }
        Self::new(file, path, None)
    }

    pub(super) fn new(mut file: File, path: &Path, remove: Option<Remove>) -> Result<Self> {
        let failed = |source| io_error("read", path, source);
        let file_bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let mut header = Vec::new();
        let beginning = file_bytes.min(PREFIX_BYTES as u64) as usize;
        read_more(&mut file, &mut header, beginning, path, 0)?;
        let Some(prefix) = header.first_chunk::<PREFIX_BYTES>() else {
            let what = format!("expected a file of counts, found {file_bytes} bytes");
            return Err(damaged(path, 0, &what));
        };
        let length = RunHeader::length(prefix, file_bytes, path)?;
        read_more(&mut file, &mut header, length - PREFIX_BYTES, path, 0)?;
        let parsed = RunHeader::parse(&header, path)?;
        let header_sum = u64_at(&header, length - SUM_BYTES);

        let trailer_at = file_bytes - TRAILER_BYTES as u64;
        file.seek(SeekFrom::Start(trailer_at)).map_err(failed)?;
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact(&mut trailer).map_err(failed)?;
        let trailer = Trailer::parse(&trailer, header_sum, file_bytes, path)?;
        file.seek(SeekFrom::Start(length as u64)).map_err(failed)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            header: parsed,
            trailer,
            first_block: length as u64,
            next_block: length as u64,
            offset: 0,
            block: Vec::new(),
            at: 0,
            words_left: 0,
            word: Vec::new(),
            count: 0,
            place: 0,
            read: RunTotals::default(),
            blocks_sum: 0,
            _remove: remove,
        })
    }

    /// How the words were made.
    pub fn header(&self) -> &RunHeader {
        &self.header
    }

    /// What the file says of its contents.
    pub fn totals(&self) -> &RunTotals {
        &self.trailer.totals
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the file, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.trailer.file_bytes
    }

    /// The next word. At the end of the file all totals are checked, and there is none.
    #[expect(clippy::should_implement_trait)] // it lends the word
    pub fn next(&mut self) -> Result<Option<Counted<'_>>> {
        Ok(self.advance()?.then(|| self.current()))
    }

    /// Begins again with the first word.
    pub fn rewind(&mut self) -> Result<()> {
        self.file
            .seek(SeekFrom::Start(self.first_block))
            .map_err(|source| io_error("read", &self.path, source))?;
        self.next_block = self.first_block;
        self.block.clear();
        self.word.clear();
        self.words_left = 0;
        self.read = RunTotals::default();
        self.blocks_sum = 0;
        Ok(())
    }

    /// The word that was read last.
    pub(super) fn current(&self) -> Counted<'_> {
        Counted {
            word: &self.word,
            count: self.count,
            place: self.place,
        }
    }

    /// Goes on to the next word, if there is one.
    pub(super) fn advance(&mut self) -> Result<bool> {
        let first = self.words_left == 0;
        if first && !self.read_block()? {
            return Ok(false);
        }
        let mut rest = &self.block[self.at..];
        let Some((shared, suffix, count, place)) = entry(&mut rest) else {
            return Err(self.damaged("a word or number of this block is cut"));
        };
        let ascends = if first {
            shared == 0 && suffix > &*self.word
        } else {
            let after = usize::try_from(shared).map(|shared| self.word.get(shared..));
            // As much as possible is shared, so the first byte that is not decides.
            matches!(after, Ok(Some(after)) if suffix.first() > after.first())
        };
        if !ascends || suffix.is_empty() || count == 0 || place >= self.trailer.totals.places {
            return Err(self.damaged("a word of this block is out of order"));
        }
        self.word.truncate(shared as usize);
        let more = suffix.len();
        self.word
            .try_reserve(more)
            .map_err(|_| Error::OutOfMemory { bytes: more })?;
        self.word.extend_from_slice(suffix);
        (self.count, self.place) = (count, place);
        self.at = self.block.len() - rest.len();
        self.words_left -= 1;
        if self.words_left == 0 && self.at < self.block.len() {
            return Err(self.damaged("bytes follow the last word of this block"));
        }
        self.read.words += 1;
        self.read.pretokens += u128::from(count);
        self.read.places = self.read.places.max(place + 1);
        Ok(true)
    }

    /// Reads the next block, if there is one.
    fn read_block(&mut self) -> Result<bool> {
        let end = self.trailer.file_bytes - TRAILER_BYTES as u64;
        self.offset = self.next_block;
        if self.offset == end {
            self.check_totals()?;
            return Ok(false);
        }
        let left = end - self.offset;
        self.block.clear();
        self.at = 0;
        if left < (BLOCK_HEADER_BYTES + LEAST_WORD_BYTES) as u64 {
            return Err(self.damaged("expected a block of words or the end"));
        }
        let mut head = [0; BLOCK_HEADER_BYTES];
        self.file
            .read_exact(&mut head)
            .map_err(|source| io_error("read", &self.path, source))?;
        let (bytes, words) = (u32_at(&head, 0) as usize, u32_at(&head, 4));
        let plausible = bytes as u64 <= left - BLOCK_HEADER_BYTES as u64
            && words > 0
            && words as usize <= bytes / LEAST_WORD_BYTES
            && (bytes <= BLOCK_BYTES || words == 1);
        if !plausible {
            let what = format!("a block of {bytes} bytes with {words} words cannot be here");
            return Err(self.damaged(&what));
        }
        let (file, path) = (&mut self.file, &self.path);
        read_more(file, &mut self.block, bytes, path, self.offset)?;
        let sizes = block_sizes(bytes, words);
        let sum = u64_at(&head, 8);
        if sum != block_sum(self.offset, sizes, &self.block) {
            return Err(self.damaged("the block's bytes contradict its checksum"));
        }
        self.blocks_sum = chained(self.blocks_sum, sum);
        self.words_left = words;
        self.next_block = self.offset + (BLOCK_HEADER_BYTES + bytes) as u64;
        Ok(true)
    }

    fn check_totals(&self) -> Result<()> {
        let totals = &self.trailer.totals;
        let read = RunTotals {
            text_bytes: totals.text_bytes,
            documents: totals.documents,
            ..self.read
        };
        if read != *totals || self.blocks_sum != self.trailer.blocks_sum {
            return Err(self.damaged("the words are not those that the trailer sums up"));
        }
        Ok(())
    }

    fn damaged(&self, what: &str) -> Error {
        damaged(&self.path, self.offset, what)
    }
}

/// Takes a word off the front of a block: bytes shared, bytes that follow, count, place.
#[inline]
fn entry<'b>(rest: &mut &'b [u8]) -> Option<(u64, &'b [u8], u64, u64)> {
    let shared = varint(rest)?;
    let length = usize::try_from(varint(rest)?).ok()?;
    let (suffix, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((shared, suffix, varint(rest)?, varint(rest)?))
}

/// Appends `bytes` bytes of the file. Memory grows with what is there, not with what was promised.
fn read_more(
    file: &mut File,
    to: &mut Vec<u8>,
    bytes: usize,
    path: &Path,
    offset: u64,
) -> Result<()> {
    const STEP: usize = 1 << 20;
    let mut left = bytes;
    while left > 0 {
        let step = left.min(STEP);
        let begin = to.len();
        to.try_reserve(step)
            .map_err(|_| Error::OutOfMemory { bytes: step })?;
        to.resize(begin + step, 0);
        file.read_exact(&mut to[begin..])
            .map_err(|source| match source.kind() {
                io::ErrorKind::UnexpectedEof => {
                    damaged(path, offset, "the file became shorter while it was read")
                }
                _ => io_error("read", path, source),
            })?;
        left -= step;
    }
    Ok(())
}
