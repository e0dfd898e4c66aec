//! Pieces of a text as keys of a table of [`Bucket`]s.

use super::text::Text;
use crate::simd::{Bucket, Hasher, Job, Key, LONGEST_KEY, Simd};

/// [`Simd::keys`] of pieces of a text, with the numbers of those that are too long.
pub(crate) struct PieceKeys<'r, 't> {
    pub(crate) text: &'r Text<'t>,
    /// Where `starts` count from.
    pub(crate) base: usize,
    /// Where the pieces begin, and where the last one ends.
    pub(crate) starts: &'r [u32],
    pub(crate) hasher: Hasher,
    pub(crate) buckets: &'r [Bucket],
    pub(crate) keys: &'r mut [Key],
    pub(crate) slots: &'r mut [u32],
    /// Gets the numbers of pieces that are too long to be keys.
    pub(crate) long: &'r mut Vec<u32>,
}

impl Job for PieceKeys<'_, '_> {
    /// The length of the longest piece.
    type Output = u32;

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) -> u32 {
        let longest = kernel.longest(self.starts);
        if longest > LONGEST_KEY as u32 {
            kernel.long_pieces(self.starts, self.long);
        }
        kernel.keys(
            &self.text.bytes()[self.base..],
            |at| self.text.window(self.base + at),
            self.starts,
            self.hasher,
            self.buckets,
            self.keys,
            self.slots,
        );
        longest
    }
}
