//! Merging: from the bytes of a piece to symbols, by the rules of a vocabulary.
//!
//! [`MergeRules`] says which pairs merge, when, and to what. How a piece is merged
//! depends on its length alone, and the result does not: pieces of at most 16 bytes are
//! merged in registers (`Simd::merge_words`), those of at most 64 by scanning for the best pair
//! (`short`), and long ones in windows (`long`) that are merged by `short` or, where
//! these are too small, with a heap (`heap`), in linear time and memory. `dropout` skips merges at
//! random. A piece may be a whole text, so merging asks now and then whether to go on (`asking`).

mod asking;
mod dropout;
mod heap;
#[allow(clippy::inline_always)] // or the kernels would not reach the helpers
mod long;
mod pairs;
mod rules;
#[allow(clippy::inline_always)]
mod short;
mod starts;
#[cfg(test)]
mod tests;

pub use dropout::Dropout;
pub(crate) use long::Buffers;
pub(crate) use rules::{MERGE_LIMIT, MergeRules, NumberedMerge};

use crate::Result;
use asking::Asking;

/// Appends the symbols that a piece becomes when merges are skipped, unless `go_on` says no:
/// then it ends soon, with [`crate::Error::Cancelled`].
pub(crate) fn merge_with_dropout(
    rules: &MergeRules,
    piece: &[u8],
    dropout: &mut Dropout,
    symbols: &mut Vec<u32>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<()> {
    dropout::merge(rules, piece, dropout, symbols, &mut Asking::new(go_on))
}

/// Appends the symbols that a piece becomes.
pub(crate) fn merge_piece(
    rules: &MergeRules,
    piece: &[u8],
    buffers: &mut Buffers,
    symbols: &mut Vec<u32>,
) -> Result<()> {
    merge_piece_while(rules, piece, buffers, symbols, &mut || true)
}

/// The same, unless `go_on` says no: then it ends soon, with [`crate::Error::Cancelled`]. The one place
/// where a strategy is chosen.
pub(crate) fn merge_piece_while(
    rules: &MergeRules,
    piece: &[u8],
    buffers: &mut Buffers,
    symbols: &mut Vec<u32>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<()> {
    if piece.len() <= short::LONGEST {
        short::merge(rules, piece, symbols);
        return Ok(());
    }
    long::merge(rules, piece, buffers, symbols, &mut Asking::new(go_on))
}
