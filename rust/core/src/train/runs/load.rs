//! From files of counts to a table of counts.

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::super::WordCounts;
use super::format::RunHeader;
use super::merged::{MOST_OPEN, Merged, merge};
use super::reader::RunReader;
use crate::{Error, Result};

/// How many words are read between two calls of `progress`.
const WORDS_BETWEEN_CALLS: u32 = 1 << 12;

/// Adds up any number of files of counts, each multiplied by its weight, as if their texts stood one after another.
///
/// All must have been counted with `expected`; `origin` is what has that header, for errors. `progress` hears now and
/// then how many bytes of the files were read, and may stop: then the result is [`Error::Cancelled`].
pub fn load(
    paths: &[PathBuf],
    weights: &[u64],
    expected: &RunHeader,
    origin: &std::path::Path,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<WordCounts> {
    if weights.len() != paths.len() {
        return Err(Error::Weights {
            sources: paths.len(),
            weights: weights.to_vec(),
        });
    }
    let mut words = WordCounts::new();
    let mut done = 0;
    let chunks = paths.chunks(MOST_OPEN).zip(weights.chunks(MOST_OPEN));
    for (paths, weights) in chunks {
        let readers = paths.iter().map(|path| RunReader::open(path));
        let readers = readers.collect::<Result<Vec<_>>>()?;
        for reader in &readers {
            expected.expect_same(origin, reader.header(), reader.path())?;
        }
        let bytes: u64 = readers.iter().map(RunReader::file_bytes).sum();
        add_all(merge(readers, weights)?, &mut words, &mut || progress(done))?;
        done += bytes;
    }
    if progress(done).is_break() {
        return Err(Error::Cancelled);
    }
    Ok(words)
}

/// Adds words in the order of their places, so that the table remembers it.
pub(crate) fn add_all(
    mut sum: Merged,
    words: &mut WordCounts,
    progress: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<()> {
    let mut text: Vec<u8> = Vec::new();
    let mut all: Vec<(u64, u64, usize, usize)> = Vec::new();
    let mut calls = Calls::new(progress);
    while let Some(counted) = sum.next()? {
        calls.after_a_word()?;
        let begin = text.len();
        reserve(&mut text, counted.word.len())?;
        text.extend_from_slice(counted.word);
        reserve(&mut all, 1)?;
        all.push((counted.place, counted.count, begin, text.len()));
    }
    all.sort_unstable();
    for (_, count, begin, end) in all {
        calls.after_a_word()?;
        words.add(&text[begin..end], count)?;
    }
    Ok(())
}

/// Calls a function after every few words; it may stop the work.
pub(super) struct Calls<'f> {
    progress: &'f mut dyn FnMut() -> ControlFlow<()>,
    until_call: u32,
}

impl<'f> Calls<'f> {
    pub(super) fn new(progress: &'f mut dyn FnMut() -> ControlFlow<()>) -> Self {
        Self {
            progress,
            until_call: WORDS_BETWEEN_CALLS,
        }
    }

    #[inline]
    pub(super) fn after_a_word(&mut self) -> Result<()> {
        self.until_call -= 1;
        if self.until_call > 0 {
            return Ok(());
        }
        self.until_call = WORDS_BETWEEN_CALLS;
        match (self.progress)() {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}

fn reserve<T>(values: &mut Vec<T>, more: usize) -> Result<()> {
    let bytes = more.saturating_mul(size_of::<T>());
    values
        .try_reserve(more)
        .map_err(|_| Error::OutOfMemory { bytes })
}
