//! The words to learn from, wherever they are.

use super::GoOn;
use super::count::{WordCounts, sort_while};
use super::runs::RunWords;
use crate::Result;
use crate::memory::reserve;

/// Words and counts: in memory, or in a file when they were counted within a limit of memory.
#[derive(Debug)]
pub enum Words {
    /// In memory.
    Counted(WordCounts),
    /// In a file, which is read once for each use.
    Run(RunWords),
}

impl From<WordCounts> for Words {
    fn from(words: WordCounts) -> Self {
        Self::Counted(words)
    }
}

impl From<RunWords> for Words {
    fn from(words: RunWords) -> Self {
        Self::Run(words)
    }
}

impl Words {
    /// Different words.
    pub fn len(&self) -> usize {
        match self {
            Self::Counted(words) => words.len(),
            Self::Run(words) => words.len(),
        }
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// There can be no more merges than this; where that is more than `enough`, perhaps more.
    pub(super) fn most_merges(&mut self, enough: usize) -> Result<usize> {
        match self {
            Self::Counted(words) => Ok(words.windows(enough)),
            Self::Run(words) => words.windows(enough),
        }
    }

    /// Whether the words have so many symbols together, as far as can be said without reading a file.
    pub(super) fn reach(&self, symbols: usize) -> bool {
        match self {
            Self::Counted(words) => words.reach(symbols),
            Self::Run(_) => true,
        }
    }

    /// Gives back the memory that is only needed to add words.
    pub(super) fn freeze(&mut self) {
        if let Self::Counted(words) = self {
            words.freeze();
        }
    }

    /// Calls `f` with every word and its count, in an order that is the same each time. `go_on` may stop it.
    pub(super) fn each(
        &mut self,
        go_on: GoOn<'_>,
        mut f: impl FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Counted(words) => {
                let mut words = words.iter_unordered();
                words.try_for_each(|(word, count)| f(word, count))
            }
            Self::Run(words) => words.each(go_on, |word, count, _| f(word, count)),
        }
    }

    /// The same in the order in which the words were first seen.
    pub(super) fn each_first_seen(
        &mut self,
        go_on: GoOn<'_>,
        mut f: impl FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<()> {
        let words = match self {
            Self::Counted(words) => {
                let mut words = words.iter_first_seen();
                return words.try_for_each(|(word, count)| f(word, count));
            }
            Self::Run(words) => words,
        };
        let mut all: Vec<(u64, u64, usize)> = Vec::new();
        let mut text: Vec<u8> = Vec::new();
        reserve(&mut all, words.len())?;
        words.each(go_on, |word, count, place| {
            all.push((place, count, text.len()));
            // A word ends where its length says, so that the order may change.
            let length = word.len() as u64;
            reserve(&mut text, word.len() + 8)?;
            text.extend_from_slice(&length.to_le_bytes());
            text.extend_from_slice(word);
            Ok(())
        })?;
        sort_while(&mut all, &|&(place, ..)| place, go_on)?;
        all.into_iter().try_for_each(|(_, count, begin)| {
            let Some((length, rest)) = text[begin..].split_first_chunk() else {
                return Ok(());
            };
            f(&rest[..u64::from_le_bytes(*length) as usize], count)
        })
    }
}
