//! Learning merges from counted pre-tokens.
mod count;

use std::ops::ControlFlow;

pub use count::{WordCounts, count_documents};

use crate::{Error, Result, oracle};

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

/// Learns merges from `words`. `progress` hears how many are done and may stop.
pub fn train(
    words: &WordCounts,
    options: &TrainOptions,
    progress: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Trained> {
    if progress(0).is_break() {
        return Err(Error::Cancelled);
    }
    let words: Vec<_> = words
        .iter_first_seen()
        .map(|(word, count)| (word.to_vec(), count))
        .collect();
    Ok(oracle::train(&words, options))
}
