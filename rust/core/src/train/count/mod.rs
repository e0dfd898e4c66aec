//! Counting pre-tokens: an exact multiset of words with 64-bit counts.
//!
//! Natural text repeats itself: 100 MB of English hold 19 million pre-tokens
//! and 350 thousand different ones, nearly all of at most 16 bytes. So each thread has a
//! table ([`table`]) that it keeps from the first batch of text to the last, with one cache line
//! for a short word ([`short_words`]) and an arena for the others ([`long_words`]). Text goes
//! through it in blocks of words ([`block`]).
//!
//! Each word remembers when it was first seen: the number of the batch, and how many new words came before it
//! there. When the threads' tables are joined, the earlier place is kept. So the result, the order of
//! [`WordCounts::iter_first_seen`] included, does not depend on how many threads there were.
//!
//! The tables have random seeds, so a text cannot be made whose words all fall
//! into one slot. No result depends on them.

mod block;
mod crew;
mod long_words;
mod parallel;
mod short_words;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use crate::Result;
use crate::scan::Pretokenizer;
use crate::simd::Kernel;
use block::{Counting, Room};
pub use parallel::{Counter, count_documents};
use table::WordTable;

/// How often a word was counted, and its place among all words by when they were first seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Occurrences.
    pub count: u64,
    /// Smaller for words that were seen earlier. Places are not consecutive.
    pub place: u64,
}

/// How often each pre-token occurs: an exact multiset with 64-bit counts.
///
/// ```
/// use gptbpe_core::{pattern::Pattern, scan::Pretokenizer};
/// use gptbpe_core::train::WordCounts;
///
/// let mut words = WordCounts::new();
/// words.add_text(&Pretokenizer::new(&Pattern::default())?, b"to be or not to be")?;
/// words.add(b"be", 5)?;
/// let counted: Vec<_> = words.iter().collect();
/// assert_eq!(counted[0], (&b" be"[..], 2));
/// assert_eq!(counted[4], (&b"be"[..], 5));
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct WordCounts {
    table: WordTable,
}

impl Default for WordCounts {
    fn default() -> Self {
        Self::new()
    }
}

impl WordCounts {
    /// An empty multiset.
    pub fn new() -> Self {
        Self {
            table: WordTable::new(Kernel::best()),
        }
    }

    /// Adds every pre-token of `text`.
    pub fn add_text(&mut self, pretokenizer: &Pretokenizer, text: &[u8]) -> Result<()> {
        let mut room = Room::new();
        let mut counting = Counting::new(pretokenizer, &mut room, &mut self.table, 1);
        counting.push(text)?;
        counting.flush()
    }

    /// Adds `count` occurrences of `word`. Empty words and zero counts add nothing.
    pub fn add(&mut self, word: &[u8], count: u64) -> Result<()> {
        self.table.add(word, count)
    }

    /// Adds everything counted in `other`, as if its text came after.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.table.merge(&other.table, self.table.place())
    }

    /// Different words.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing has been counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Words and counts, ordered by the words' bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let sorted = self.iter_with_places();
        sorted.map(|(word, tally)| (word, tally.count))
    }

    /// Words with their counts and places, ordered by the words' bytes.
    pub fn iter_with_places(&self) -> impl Iterator<Item = (&[u8], Tally)> {
        let mut all: Vec<_> = self.table.iter().collect();
        all.sort_unstable_by_key(|&(word, _)| word);
        all.into_iter()
    }

    /// Words and counts, in the order in which the words were first added.
    pub fn iter_first_seen(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let mut all: Vec<_> = self.table.iter().collect();
        all.sort_unstable_by_key(|&(_, tally)| tally.place);
        all.into_iter().map(|(word, tally)| (word, tally.count))
    }

    /// Words and counts, in no order to rely on.
    pub(super) fn iter_unordered(&self) -> impl Iterator<Item = (&[u8], u64)> + Clone {
        let words = self.table.iter();
        words.map(|(word, tally)| (word, tally.count))
    }

    /// Gives back the memory that is only needed to add words. None can be added any more.
    pub(super) fn freeze(&mut self) {
        self.table.freeze();
    }

    /// Greater than all places.
    pub(super) fn end_place(&self) -> u64 {
        self.table.place()
    }

    /// How many bytes of memory are in use.
    pub fn memory(&self) -> usize {
        self.table.memory()
    }
}

impl PartialEq for WordCounts {
    /// Equal counts of equal words; when each was first seen does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for WordCounts {}
