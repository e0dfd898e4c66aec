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
mod long_words;
mod parallel;
mod pool;
mod short_words;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::ops::ControlFlow;

use super::GoOn;
use crate::memory::reserve;
use crate::scan::Pretokenizer;
use crate::simd::Kernel;
use crate::{Error, Result};
use block::{Counting, Room};
pub use parallel::{Counter, count_documents};
use table::WordTable;

/// After so many words that are moved from one table to another the caller is asked whether to go on.
const BETWEEN_LOOKS: usize = 1 << 14;

fn look(go_on: GoOn<'_>) -> Result<()> {
    match go_on() {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Cancelled),
    }
}

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
        let go_on: GoOn<'_> = &mut || ControlFlow::Continue(());
        let mut counting = Counting::new(pretokenizer, &mut room, &mut self.table, 1, go_on)?;
        counting.push(text)?;
        counting.flush()
    }

    /// Adds `count` occurrences of `word`. Empty words and zero counts add nothing.
    pub fn add(&mut self, word: &[u8], count: u64) -> Result<()> {
        self.table.add(word, count)
    }

    /// Adds everything counted in `other`, as if its text came after.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let go_on: GoOn<'_> = &mut || ControlFlow::Continue(());
        self.table.merge(&other.table, self.table.place(), go_on)
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
        let mut all: Vec<_> = self.iter_unordered().collect();
        all.sort_unstable_by_key(|&(word, _)| word);
        all.into_iter()
    }

    /// Words with their tallies, ordered by the words' bytes. `go_on` may stop the sorting.
    pub(super) fn sorted(
        &self,
        go_on: GoOn<'_>,
    ) -> Result<impl Iterator<Item = (&[u8], Tally)> + use<'_>> {
        let mut all = Vec::new();
        reserve(&mut all, self.len())?;
        let words = self.table.iter();
        all.extend(words.map(|(word, tally)| (first_eight(word), word, tally)));
        sort_while(&mut all, &|&(first, word, _)| (first, word), go_on)?;
        Ok(all.into_iter().map(|(_, word, tally)| (word, tally)))
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

    /// How many windows of two bytes there are in the words, or at least `enough`.
    pub(super) fn windows(&self, enough: usize) -> usize {
        self.add_up(enough, |word| word.len() - 1)
    }

    /// Whether the words have so many symbols together.
    pub(super) fn reach(&self, symbols: usize) -> bool {
        self.add_up(symbols, <[u8]>::len) >= symbols
    }

    /// The sum of `f` over the words, or one of at least `enough`.
    fn add_up(&self, enough: usize, f: impl Fn(&[u8]) -> usize) -> usize {
        let mut sum = 0;
        let mut words = self.iter_unordered();
        while sum < enough
            && let Some((word, _)) = words.next()
        {
            sum += f(word);
        }
        sum
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

/// The first eight bytes as a number that is ordered as they are: most words differ there, so that sorting seldom
/// looks at the words themselves.
fn first_eight(word: &[u8]) -> u64 {
    let mut padded = [0; 8];
    let length = word.len().min(8);
    padded[..length].copy_from_slice(&word[..length]);
    u64::from_be_bytes(padded)
}

/// Sorts by a key, and asks now and then whether to go on.
pub(super) fn sort_while<T, K: Ord>(
    values: &mut [T],
    key: &impl Fn(&T) -> K,
    go_on: GoOn<'_>,
) -> Result<()> {
    const AT_ONCE: usize = 1 << 17;
    let mut left = vec![values];
    while let Some(values) = left.pop() {
        look(go_on)?;
        if values.len() <= AT_ONCE {
            values.sort_unstable_by_key(key);
            continue;
        }
        let middle = values.len() / 2;
        values.select_nth_unstable_by_key(middle, key);
        let (lower, upper) = values.split_at_mut(middle);
        left.extend([upper, lower]);
    }
    Ok(())
}

impl PartialEq for WordCounts {
    /// Equal counts of equal words; when each was first seen does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for WordCounts {}
