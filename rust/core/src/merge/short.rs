//! Merging a short piece: scan for the best pair, merge it, ask about the two
//! new neighbours, again. Quadratic, but 64 numbers are a few wide registers.
//!
//! A symbol lives at its first byte, and a word of bits says at which bytes symbols start; so
//! nothing is moved when two become one, and neighbours are found by counting zeros.
//!
//! A look-up takes a trip to the cache, and a scan waits for what was stored before it. So after a merge
//! the scan goes over all other candidates while the look-ups of the two new ones are on their way.

use super::MergeRules;
use super::starts::ones;
use crate::simd::{Job, Kernel, NO_MERGE, Simd};

/// The longest piece, in bytes, that is merged this way.
pub(super) const LONGEST: usize = 64;
/// The bits of a place in a candidate.
const PLACE_BITS: u32 = LONGEST.trailing_zeros();
/// What is not less than this is no candidate.
const NO_CANDIDATE: u32 = NO_MERGE << PLACE_BITS;
/// Candidates are scanned in groups of so many.
const GROUP: usize = 16;

/// What a short piece became.
#[derive(Debug)]
pub(super) struct Merged {
    /// At the first bytes of the symbols that are left.
    pub(super) symbols: [u32; LONGEST],
    /// The first bytes of these.
    pub(super) starts: u64,
}

/// Appends the symbols of a piece of at most [`LONGEST`] bytes.
pub(super) fn merge(rules: &MergeRules, piece: &[u8], out: &mut Vec<u32>) {
    let merged = Kernel::best().run(Merge { rules, piece });
    out.extend(ones(merged.starts).map(|at| merged.symbols[at]));
}

/// [`merge_window`] for one kernel.
struct Merge<'a> {
    rules: &'a MergeRules,
    piece: &'a [u8],
}

impl Job for Merge<'_> {
    type Output = Merged;

    #[inline(always)]
    fn run<K: Simd>(self, _: K) -> Merged {
        merge_window(self.rules, self.piece)
    }
}

/// Merges at most [`LONGEST`] bytes.
#[inline(always)]
pub(super) fn merge_window(rules: &MergeRules, piece: &[u8]) -> Merged {
    let length = piece.len();
    let mut symbols = [0; LONGEST];
    // candidates[at] belongs to the pair that begins at `at`: its number, then the place, so that the least
    // is the first of the least.
    let mut candidates = [NO_CANDIDATE; LONGEST];
    let mut starts = u64::MAX.checked_shr(64 - length as u32).unwrap_or(0);
    for (symbol, &byte) in symbols.iter_mut().zip(piece) {
        *symbol = u32::from(byte);
    }
    for at in 1..length {
        let number = rules.merge_bytes(piece[at - 1], piece[at]);
        candidates[at - 1] = number << PLACE_BITS | (at - 1) as u32;
    }
    let groups = length.div_ceil(GROUP);
    let mut first = least(&candidates, groups);
    while first < NO_CANDIDATE {
        let at = first as usize % LONGEST;
        let made = rules.made(first >> PLACE_BITS);
        // There is a symbol after it, which goes.
        let gone = (starts & (!1 << at)).trailing_zeros() as usize % LONGEST;
        starts &= !(1 << gone);
        symbols[at] = made;
        let after = (starts & (!1 << at)).trailing_zeros() as usize % LONGEST;
        let before = 63 - (starts & !(u64::MAX << at) | 1).leading_zeros() as usize;
        candidates[gone] = NO_CANDIDATE;
        candidates[at] = NO_CANDIDATE;
        candidates[before] = NO_CANDIDATE;
        // Two trips to the cache; meanwhile the others are scanned.
        let with_after = if after > at {
            rules.merge(made, symbols[after]) << PLACE_BITS | at as u32
        } else {
            NO_CANDIDATE
        };
        let with_before = if before < at {
            rules.merge(symbols[before], made) << PLACE_BITS | before as u32
        } else {
            NO_CANDIDATE
        };
        let others = least(&candidates, groups);
        candidates[before] = with_before;
        candidates[at] = with_after;
        first = others.min(with_after).min(with_before);
    }
    Merged { symbols, starts }
}

/// The least of the candidates in the first groups.
#[inline(always)]
fn least(candidates: &[u32; LONGEST], groups: usize) -> u32 {
    let mut least = [NO_CANDIDATE; GROUP];
    for group in candidates.chunks_exact(GROUP).take(groups) {
        for (least, &candidate) in least.iter_mut().zip(group) {
            *least = (*least).min(candidate);
        }
    }
    least.into_iter().fold(NO_CANDIDATE, u32::min)
}
