//! Writing a run: sorted words in, front-coded blocks out, one block in memory.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::format::{
    BLOCK_BYTES, RunHeader, RunTotals, SUM_BYTES, TRAILER_BYTES, Trailer, block_sizes, block_sum,
    chained, put_varint, u64_at, varint_bytes,
};
use crate::publish::AtomicFile;
use crate::{Error, Result};

/// Writes a file of counts, which appears whole or not at all.
///
/// ```
/// use gptbpe_core::pattern::Pattern;
/// use gptbpe_core::train::runs::{RunHeader, RunReader, RunWriter};
///
/// let path = std::env::temp_dir().join(format!("doc-{}.pcnt", std::process::id()));
/// let header = RunHeader { pattern: Pattern::default(), special_tokens: vec![] };
/// let mut writer = RunWriter::create(&path, &header)?;
/// writer.push(b" be", 2, 1)?; // ascending by bytes, with count and place
/// writer.push(b"to", 1, 0)?;
/// assert_eq!(writer.finish(8, 1)?.words, 2);
///
/// let mut reader = RunReader::open(&path)?;
/// let first = reader.next()?.unwrap();
/// assert_eq!((first.word, first.count, first.place), (&b" be"[..], 2, 1));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug)]
pub struct RunWriter {
    sink: Sink,
    /// Where the present block begins in the file.
    offset: u64,
    header_sum: u64,
    blocks_sum: u64,
    totals: RunTotals,
    block: Vec<u8>,
    words_in_block: u32,
    last: Vec<u8>,
}

#[derive(Debug)]
enum Sink {
    /// A file that somebody asked for.
    Published(AtomicFile),
    /// A file that nobody sees, in this folder.
    Temporary(File, PathBuf),
}

impl Sink {
    fn write(&mut self, data: &[u8]) -> Result<()> {
        match self {
            Self::Published(file) => file.write(data),
            Self::Temporary(file, folder) => file.write_all(data).map_err(|source| Error::Spill {
                folder: folder.clone(),
                source,
            }),
        }
    }
}

impl RunWriter {
    /// Begins a file that is to be at `path`. Nothing is there before [`RunWriter::finish`].
    pub fn create(path: &Path, header: &RunHeader) -> Result<Self> {
        let bytes = header.to_bytes()?;
        Self::new(Sink::Published(AtomicFile::create(path)?), &bytes)
    }

    /// Begins a run in a temporary file, which lies in `folder`.
    pub(super) fn temporary(file: File, folder: &Path, header: &RunHeader) -> Result<Self> {
        let bytes = header.to_bytes()?;
        Self::new(Sink::Temporary(file, folder.to_path_buf()), &bytes)
    }

    fn new(mut sink: Sink, header: &[u8]) -> Result<Self> {
        sink.write(header)?;
        Ok(Self {
            sink,
            offset: header.len() as u64,
            header_sum: u64_at(header, header.len() - SUM_BYTES),
            blocks_sum: 0,
            totals: RunTotals::default(),
            block: Vec::new(),
            words_in_block: 0,
            last: Vec::new(),
        })
    }

    /// Appends a word, its count and its place. Words come in ascending order of their bytes, each once; counts are
    /// at least 1.
    pub fn push(&mut self, word: &[u8], count: u64, place: u64) -> Result<()> {
        if word <= &*self.last || count == 0 {
            return Err(Error::CountsUnsorted {
                word: word.to_vec(),
                last: self.last.clone(),
                count,
            });
        }
        let same = self.last.iter().zip(word).take_while(|(a, b)| a == b);
        let mut shared = same.count();
        let bytes = |shared: usize| {
            let suffix = word.len() - shared;
            varint_bytes(shared as u64)
                + varint_bytes(suffix as u64)
                + suffix
                + varint_bytes(count)
                + varint_bytes(place)
        };
        if self.words_in_block > 0 && self.block.len() + bytes(shared) > BLOCK_BYTES {
            self.write_block()?;
        }
        if self.words_in_block == 0 {
            shared = 0;
        }
        if bytes(shared) > u32::MAX as usize {
            return Err(Error::PreTokenTooLong {
                bytes: word.len(),
                limit: u32::MAX as usize - 32,
            });
        }
        put_varint(&mut self.block, shared as u64);
        put_varint(&mut self.block, (word.len() - shared) as u64);
        self.block.extend_from_slice(&word[shared..]);
        put_varint(&mut self.block, count);
        put_varint(&mut self.block, place);
        self.words_in_block += 1;
        self.last.truncate(shared);
        self.last.extend_from_slice(&word[shared..]);
        self.totals.words += 1;
        self.totals.pretokens += u128::from(count);
        let above = place.checked_add(1).ok_or(Error::CountOverflow)?;
        self.totals.places = self.totals.places.max(above);
        Ok(())
    }

    fn write_block(&mut self) -> Result<()> {
        if self.words_in_block == 0 {
            return Ok(());
        }
        let sizes = block_sizes(self.block.len(), self.words_in_block);
        let sum = block_sum(self.offset, sizes, &self.block);
        self.blocks_sum = chained(self.blocks_sum, sum);
        let sum = sum.to_le_bytes();
        self.sink.write(&sizes)?;
        self.sink.write(&sum)?;
        self.sink.write(&self.block)?;
        self.offset += (sizes.len() + sum.len() + self.block.len()) as u64;
        self.block.clear();
        self.words_in_block = 0;
        Ok(())
    }

    /// Writes what is left and puts the file in its place.
    pub fn finish(self, text_bytes: u64, documents: u64) -> Result<RunTotals> {
        let (sink, totals) = self.end(text_bytes, documents)?;
        if let Sink::Published(file) = sink {
            file.commit()?;
        }
        Ok(totals)
    }

    /// The same for a temporary file, which is given back.
    pub(super) fn finish_temporary(self) -> Result<Option<File>> {
        match self.end(0, 0)?.0 {
            Sink::Temporary(file, _) => Ok(Some(file)),
            Sink::Published(_) => Ok(None),
        }
    }

    fn end(mut self, text_bytes: u64, documents: u64) -> Result<(Sink, RunTotals)> {
        self.write_block()?;
        self.totals.text_bytes = text_bytes;
        self.totals.documents = documents;
        let trailer = Trailer {
            totals: self.totals,
            blocks_sum: self.blocks_sum,
            file_bytes: self.offset + TRAILER_BYTES as u64,
        };
        self.sink.write(&trailer.to_bytes(self.header_sum))?;
        Ok((self.sink, self.totals))
    }
}
