//! Merging a short piece: scan for the best pair, merge it, ask about the two
//! new neighbours, again. Quadratic, but on the few symbols of a usual pre-token
//! that is a handful of compares in registers and on the stack, with no
//! bookkeeping; `long` takes over where that stops being true.

use super::MergeRules;
use crate::simd::NO_MERGE;

/// The longest piece, in bytes, that is merged this way.
pub(super) const LONGEST: usize = 64;

/// Appends the symbols of a piece of at most [`LONGEST`] bytes.
pub(super) fn merge(rules: &MergeRules, piece: &[u8], out: &mut Vec<u32>) {
    let mut symbols = [0u32; LONGEST];
    // merges[i] belongs to the pair (symbols[i], symbols[i + 1]).
    let mut merges = [NO_MERGE; LONGEST];
    let mut length = piece.len();
    for (symbol, &byte) in symbols.iter_mut().zip(piece) {
        *symbol = u32::from(byte);
    }
    for at in 1..length {
        merges[at - 1] = rules.merge_bytes(piece[at - 1], piece[at]);
    }
    while length > 1 {
        let (at, best) = lowest(&merges[..length - 1]);
        if best == NO_MERGE {
            break;
        }
        symbols[at] = rules.made(best);
        symbols.copy_within(at + 2..length, at + 1);
        merges.copy_within(at + 2..length, at + 1);
        length -= 1;
        merges[length - 1] = NO_MERGE;
        if at + 1 < length {
            merges[at] = rules.merge(symbols[at], symbols[at + 1]);
        }
        if at > 0 {
            merges[at - 1] = rules.merge(symbols[at - 1], symbols[at]);
        }
    }
    out.extend_from_slice(&symbols[..length]);
}

/// Place and value of the lowest number, the first of equals.
fn lowest(merges: &[u32]) -> (usize, u32) {
    let mut best = (0, NO_MERGE);
    for (at, &merge) in merges.iter().enumerate() {
        if merge < best.1 {
            best = (at, merge);
        }
    }
    best
}
