//! Merging: from the bytes of a piece to symbols, by the rules of a vocabulary.
//!
//! [`MergeRules`] says which pairs merge, when, and to what. How a piece is merged
//! depends on its length alone, and the result does not: pieces of at most 16 bytes are
//! merged in registers (`Simd::merge_words`), short ones by scanning for the best pair
//! (`short`), and long ones with a heap (`long`), in O(n log n). `dropout` skips merges at
//! random.

mod dropout;
mod long;
mod pairs;
mod rules;
mod short;

pub use dropout::Dropout;
pub(crate) use long::Buffers;
pub(crate) use rules::{MERGE_LIMIT, MergeRules, NumberedMerge};

use crate::Result;

/// Appends the symbols that a piece becomes when merges are skipped.
pub(crate) fn merge_with_dropout(
    rules: &MergeRules,
    piece: &[u8],
    dropout: &mut Dropout,
    symbols: &mut Vec<u32>,
) -> Result<()> {
    dropout::merge(rules, piece, dropout, symbols)
}

/// Appends the symbols that a piece becomes: the one place where a strategy is chosen.
pub(crate) fn merge_piece(
    rules: &MergeRules,
    piece: &[u8],
    buffers: &mut Buffers,
    symbols: &mut Vec<u32>,
) -> Result<()> {
    if piece.len() <= short::LONGEST {
        short::merge(rules, piece, symbols);
        return Ok(());
    }
    long::merge(rules, piece, buffers, symbols)
}
