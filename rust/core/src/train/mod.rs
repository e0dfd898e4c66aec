//! Learning merges from counted pre-tokens.
//!
//! Each step merges the adjacent pair of the highest count into the next id.
//! Overlapping windows all count (`aaa` holds two of `aa`), merging goes from
//! left to right, and ties go by [`TieBreak`]. The result is exact: that of
//! counting all pairs anew at every step, as [`crate::oracle`] does. Counts
//! have 64 bits and are checked. Text is only ever counted, never kept.
//!
//! Reading order: `corpus` takes text and `count` makes the multiset of words of it, `runs` with files; `layout` puts them
//! into `records` and `linked`, so that a merge touches little; `merge` is the loop, with `walk`, `births`, `pairs` and
//! `postings`, and `pool` its threads; `buckets` and `tie_break` say which pair is next, and `threshold` which are not worth
//! keeping.

#![allow(clippy::inline_always)] // or the kernels would not reach the loops

mod births;
mod buckets;
mod corpus;
mod count;
mod layout;
mod limits;
mod linked;
mod merge;
mod pairs;
mod parallel;
mod pool;
mod postings;
mod records;
mod recount;
pub mod runs;
mod symbol;
#[cfg(test)]
mod tests;
mod threshold;
mod tie_break;
mod walk;
mod words;

use std::collections::HashSet;
use std::ops::ControlFlow;

pub use corpus::{Corpus, CorpusOptions};
pub use count::{Counter, Tally, WordCounts, count_documents};
pub use words::Words;

use crate::simd::Kernel;
use crate::{Error, Result};
use merge::Merger;
use pairs::Key;
use symbol::Symbol;

/// Asked now and then whether to go on.
type GoOn<'a> = &'a mut dyn FnMut() -> ControlFlow<()>;

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
    /// About how many bytes of memory may be in use, if the words fit in them. The result is the same, and
    /// comes later if it is little.
    pub max_memory: Option<usize>,
    /// Threads that merge; one is the caller's own. The result does not depend on them.
    pub threads: usize,
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
            max_memory: None,
            threads: 1,
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
    /// Whether it ended because a vocabulary cannot hold the next token: all
    /// tokens together would be longer than [`crate::vocab::TOKEN_BYTES`].
    pub is_full: bool,
}

/// Learns merges from `words`; fewer than wanted when no pair is left to merge
/// or the vocabulary is full.
///
/// `progress` hears after every merge, and now and then meanwhile, how many are done, and may stop: then the
/// result is [`Error::Cancelled`].
///
/// ```
/// use std::ops::ControlFlow;
/// use gptbpe_core::train::{TrainOptions, WordCounts, train};
///
/// let mut words = WordCounts::new();
/// words.add(b"aaabdaaabac", 1)?;
/// let options = TrainOptions { merges: 3, ..TrainOptions::default() };
/// let trained = train(words, &options, &mut |_| ControlFlow::Continue(()))?;
/// let (a, b) = (u32::from(b'a'), u32::from(b'b'));
/// assert_eq!(trained.merges, [(a, a), (a, b), (256, 257)]);
/// assert_eq!(trained.counts, [4, 2, 2]);
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
pub fn train(
    words: impl Into<Words>,
    options: &TrainOptions,
    progress: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Trained> {
    train_with(Kernel::best(), words, options, progress)
}

/// The same with a kernel other than the best; for tests and benchmarks.
#[doc(hidden)]
pub fn train_with(
    kernel: Kernel,
    words: impl Into<Words>,
    options: &TrainOptions,
    progress: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Trained> {
    let mut words = words.into();
    let wanted = options.merges as usize;
    check_merges(&options.initial_merges[..options.initial_merges.len().min(wanted)])?;
    // Each merge needs a window of its own, so a small text does not ask for much memory.
    let most = wanted.min(words.most_merges(wanted)?) + options.initial_merges.len().min(wanted);
    let most = most.min(wanted);
    let tuning = Tuning::default();
    if most <= MOST_NARROW {
        learn::<u16>(kernel, words, most, options, tuning, progress)
    } else {
        learn::<u32>(kernel, words, most, options, tuning, progress)
    }
}

/// With so many merges the last id but one still fits in 16 bits with a sentinel; the last is never written.
const MOST_NARROW: usize = (1 << 16) - 256;

/// Limits that change the speed and no result; `None` for the usual ones.
#[derive(Debug, Clone, Copy, Default)]
struct Tuning {
    /// About how many postings there are at most.
    postings: Option<usize>,
    /// Words of so many symbols are divided among threads.
    shared: Option<usize>,
    /// A merge with so many postings goes to all threads.
    heavy: Option<usize>,
    /// In words of so many symbols, pairs of bytes are counted in a row for each, not in a hash table.
    dense: Option<usize>,
}

fn learn<S: Symbol>(
    kernel: Kernel,
    words: impl Into<Words>,
    most: usize,
    options: &TrainOptions,
    tuning: Tuning,
    progress: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Trained> {
    let begin = &mut || progress(0);
    let merger = Merger::<S>::new(kernel, words.into(), most, options, tuning, begin)?;
    let mut learner = Learner {
        merger,
        trained: Trained::default(),
        progress,
    };
    if options.initial_merges.is_empty() {
        learner.merger.set_limits(options);
        learner.merger.count_bytes(&mut || (learner.progress)(0))?;
    } else {
        // They are made whatever their counts and lengths.
        learner.merger.count_bytes(&mut || (learner.progress)(0))?;
        for &(left, right) in options.initial_merges.iter().take(most) {
            let pair = Key::new(left, right);
            let count = learner.merger.count(pair);
            learner.make(pair, count)?;
        }
        learner.merger.set_limits(options);
        let done = learner.trained.merges.len();
        let go_on = &mut || (learner.progress)(done as u32);
        learner.merger.recount(go_on)?;
    }
    while learner.trained.merges.len() < most && !learner.trained.is_full {
        if let Some((pair, count)) = learner.merger.next() {
            learner.make(pair, count)?;
            continue;
        }
        let done = learner.trained.merges.len();
        let go_on = &mut || (learner.progress)(done as u32);
        if !learner.merger.lower_threshold(done, go_on)? {
            break;
        }
    }
    Ok(learner.trained)
}

/// The merges so far, and what makes the next one.
struct Learner<'p, S> {
    merger: Merger<S>,
    trained: Trained,
    progress: &'p mut dyn FnMut(u32) -> ControlFlow<()>,
}

impl<S: Symbol> Learner<'_, S> {
    /// Makes a merge, unless the vocabulary cannot hold it.
    fn make(&mut self, pair: Key, count: u64) -> Result<()> {
        let Self {
            merger,
            trained,
            progress,
        } = self;
        let done = trained.merges.len() as u32;
        if trained.is_full || !merger.merge(pair, &mut || progress(done))? {
            trained.is_full = true;
            return Ok(());
        }
        trained.merges.push(pair.ids());
        trained.counts.push(count);
        if progress(done + 1).is_break() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }
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
