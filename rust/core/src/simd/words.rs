//! What merging short words side by side has to know, and what comes of it.
//!
//! A word of at most 16 bytes has at most 15 pairs. Each step merges the pair that comes
//! first and asks about its two new neighbours; `merge` has the steps.
//!
//! Symbols are numbers of tokens in the order of the merges: the bytes, then what
//! each merge makes. So the number of a merge says both when it applies and what
//! it makes, and [`PairLine`] needs to hold one number.

use super::bucket::LONGEST_KEY;
#[cfg(test)]
use super::bucket::{Key, key_length};

/// No merge: greater than the number of every merge.
pub(crate) const NO_MERGE: u32 = (1 << NUMBER_BITS) - 1;
/// The bits of a symbol or the number of a merge in a [`PairLine`].
pub(crate) const NUMBER_BITS: u32 = 21;

/// A cache line of pairs: seven entries and a mark that ends them.
///
/// An entry is 21 bits left symbol, 21 bits right symbol, 21 bits number of the merge, from
/// bit 62 down. Free places and the mark are all ones; the mark has bit 62
/// clear when pairs of this line went on to the next one.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct PairLine(pub(crate) [u64; 8]);

impl PairLine {
    pub(crate) const EMPTY: u64 = u64::MAX;
    pub(crate) const FULL: u64 = !(1 << 62);
    /// Entries in a line.
    pub(crate) const PAIRS: usize = 7;
}

/// What [`super::Simd::merge_words`] has to know of a vocabulary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WordRules<'a> {
    /// The number of the merge of two bytes, first byte in the low bits, or [`NO_MERGE`].
    pub(crate) byte_pairs: &'a [u32; 1 << 16],
    pub(crate) pairs: Pairs<'a>,
}

/// A table of pairs, read-only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pairs<'a> {
    /// A power of two of them.
    pub(crate) lines: &'a [PairLine],
    pub(crate) multiplier: u64,
    pub(crate) shift: u32,
}

impl Pairs<'_> {
    /// The number of the merge of two symbols, or [`NO_MERGE`].
    ///
    /// An entry of the pair differs from the pair's bits in its number alone; every other entry, a
    /// free place and the mark differ in higher bits. So the least difference decides, without a
    /// branch for each entry: which entry it is cannot be predicted.
    #[inline(always)]
    pub(crate) fn merge(self, left: u32, right: u32) -> u32 {
        let key = u64::from(left) << NUMBER_BITS | u64::from(right);
        let mut at = self.line_of(key);
        loop {
            let line = &self.lines[at & (self.lines.len() - 1)].0;
            let differences = line.map(|entry| entry ^ key << NUMBER_BITS);
            let least = differences.into_iter().fold(u64::MAX, u64::min);
            if least < u64::from(NO_MERGE) {
                return least as u32;
            }
            if line[PairLine::PAIRS] != PairLine::FULL {
                return NO_MERGE;
            }
            at += 1;
        }
    }

    #[inline(always)]
    pub(crate) fn line_of(self, key: u64) -> usize {
        (key.wrapping_mul(self.multiplier) >> self.shift) as usize
    }
}

/// The first symbol that a merge makes: merge `k` makes symbol `256 + k`.
pub(crate) const FIRST_MADE: u32 = 256;

/// The symbols that words became, and room to work.
#[derive(Debug)]
pub(crate) struct Words {
    pub(super) symbols: [[u32; LONGEST_KEY]; Self::MOST],
    pub(super) lengths: [usize; Self::MOST],
    pub(super) progress: [Progress; Self::MOST],
}

/// One number for each place in a word.
pub(super) type Row = [u32; LONGEST_KEY];

/// A word on its way; see [`super::merge`].
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Progress {
    /// The number of the merge of each symbol with the next one.
    pub(super) merges: Row,
    /// The symbols, between two rows that merge with nothing.
    pub(super) rows: [Row; 3],
}

impl Progress {
    const NEW: Self = Self {
        merges: [NO_MERGE; LONGEST_KEY],
        rows: [[NO_MERGE; LONGEST_KEY]; 3],
    };
}

impl Words {
    /// How many are merged at a time.
    pub(crate) const MOST: usize = 16;

    pub(crate) const fn new() -> Self {
        Self {
            symbols: [[0; LONGEST_KEY]; Self::MOST],
            lengths: [0; Self::MOST],
            progress: [Progress::NEW; Self::MOST],
        }
    }

    /// The symbols of word `index`.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> &[u32] {
        &self.symbols[index][..self.lengths[index]]
    }
}

/// Merges one word: the slow twin of [`super::Simd::merge_words`].
#[cfg(test)]
pub(super) fn merge_word(
    rules: WordRules<'_>,
    key: Key,
    symbols: &mut [u32; LONGEST_KEY],
) -> usize {
    let mut length = key_length(key);
    let bytes = key.to_le_bytes();
    // merges[i] belongs to the pair (symbols[i], symbols[i + 1]).
    let mut merges = [NO_MERGE; LONGEST_KEY];
    for (at, &byte) in bytes.iter().enumerate() {
        symbols[at] = u32::from(byte);
    }
    for at in 1..length {
        let pair = u16::from_le_bytes([bytes[at - 1], bytes[at]]);
        merges[at - 1] = rules.byte_pairs[pair as usize];
    }
    loop {
        // The place in the low bits, so that the least is the first of the least.
        let mut least = u32::MAX;
        for (at, &merge) in merges.iter().enumerate() {
            least = least.min(merge << 4 | at as u32);
        }
        let (merge, at) = (least >> 4, least as usize & 15);
        if merge == NO_MERGE {
            return length;
        }
        let made = FIRST_MADE + merge;
        symbols[at] = made;
        // The symbol after it goes, with the pair that it began.
        if at + 2 < length {
            symbols.copy_within(at + 2..length, at + 1);
            merges.copy_within(at + 2..length, at + 1);
        }
        length -= 1;
        merges[length - 1] = NO_MERGE;
        if at + 1 < length {
            merges[at] = rules.pairs.merge(made, symbols[at + 1]);
        }
        if at > 0 {
            merges[at - 1] = rules.pairs.merge(symbols[at - 1], made);
        }
    }
}
