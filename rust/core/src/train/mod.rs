//! Learning merges from counted pre-tokens.
//!
//! Each step merges the adjacent pair of the highest count into the next id.
//! Overlapping windows all count (`aaa` holds two of `aa`), merging goes from
//! left to right, and ties go by [`TieBreak`]. The result is exact: that of
//! counting all pairs anew at every step, as [`crate::oracle`] does. Counts
//! have 64 bits and are checked. Text is only ever counted, never kept.
//!
//! Reading order: `count` makes the multiset of words; `words` lays them
//! out so that a merge touches little; `merge` is the loop; `queue` says which
//! pair is next.

mod count;
mod merge;
mod queue;
pub mod runs;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashSet;
use std::ops::ControlFlow;

pub use count::{WordCounts, count_documents};

use crate::{Error, Result};
use merge::Merger;

/// Which of several pairs with the same, highest count is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum TieBreak {
    /// The smaller (left id, right id). This is rustbpe's rule.
    #[default]
    SmallestIds,
    /// The same by Hugging Face's ids, whose bytes stand in the order of the
    /// characters that its byte-level alphabet gives them.
    HuggingFace,
    /// The lexicographically greatest pair of byte strings (Stanford CS336).
    Bytes,
    /// The pair that occurs first in the text as merged so far (minbpe).
    FirstSeen,
}

/// What to learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainOptions {
    /// How many merges are wanted, initial ones included.
    pub merges: u32,
    /// Which pair wins among equals.
    pub tie_break: TieBreak,
    /// Pairs that occur less often are not merged.
    pub min_count: u64,
    /// Tokens longer than this many bytes are not made.
    pub max_token_bytes: Option<usize>,
    /// Merges to begin with, whatever their counts: those of a vocabulary that
    /// is to be extended.
    pub initial_merges: Vec<(u32, u32)>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            merges: 0,
            tie_break: TieBreak::default(),
            min_count: 1,
            max_token_bytes: None,
            initial_merges: Vec::new(),
        }
    }
}

/// What was learned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trained {
    /// Merge `k` makes id `256 + k` of two smaller ids; 0 to 255 are the bytes.
    pub merges: Vec<(u32, u32)>,
    /// How often the pair of each merge occurred when it was merged.
    pub counts: Vec<u64>,
}

/// Learns merges from `words`; fewer than wanted when no pair is left to merge.
///
/// `progress` hears after every merge how many are done, and may stop: then the
/// result is [`Error::Cancelled`].
///
/// ```
/// use std::ops::ControlFlow;
/// use gptbpe_core::train::{TrainOptions, WordCounts, train};
///
/// let mut words = WordCounts::new();
/// words.add(b"aaabdaaabac", 1)?;
/// let options = TrainOptions { merges: 3, ..TrainOptions::default() };
/// let trained = train(&words, &options, &mut |_| ControlFlow::Continue(()))?;
/// let (a, b) = (u32::from(b'a'), u32::from(b'b'));
/// assert_eq!(trained.merges, [(a, a), (a, b), (256, 257)]);
/// assert_eq!(trained.counts, [4, 2, 2]);
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
pub fn train(
    words: &WordCounts,
    options: &TrainOptions,
    progress: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Trained> {
    let wanted = options.merges as usize;
    let initial = &options.initial_merges[..options.initial_merges.len().min(wanted)];
    check_merges(initial)?;
    let mut trained = Trained::default();
    let mut merger = Merger::new(words, options)?;
    let mut initial = initial.iter().copied();
    while trained.merges.len() < wanted {
        let next = if let Some(pair) = initial.next() {
            Some((pair, merger.count(pair)))
        } else {
            merger.set_limits(options);
            merger.next()
        };
        let Some((pair, count)) = next else { break };
        merger.merge(pair);
        trained.merges.push(pair);
        trained.counts.push(count);
        if progress(trained.merges.len() as u32).is_break() {
            return Err(Error::Cancelled);
        }
    }
    Ok(trained)
}

fn check_merges(merges: &[(u32, u32)]) -> Result<()> {
    let mut seen = HashSet::new();
    for (index, &(left, right)) in merges.iter().enumerate() {
        let next = 256 + index as u64;
        if u64::from(left.max(right)) >= next || !seen.insert((left, right)) {
            return Err(Error::InvalidMerge { index, left, right });
        }
    }
    Ok(())
}
