//! Where tokens start: a bit for every byte of a piece.

use crate::Result;
use crate::memory::reserve;

/// Sets larger than this are given back after use.
const KEEP: usize = 1 << 16;

/// A set of places. Only places that are covered can be asked about.
#[derive(Debug, Default)]
pub(super) struct Starts {
    words: Vec<u64>,
}

impl Starts {
    /// Removes all places, and covers none.
    pub(super) fn clear(&mut self) {
        self.words.clear();
    }

    /// Makes room for places up to `last`.
    #[inline]
    pub(super) fn cover(&mut self, last: usize) -> Result<()> {
        // One word more, so that `bits` can always read two.
        let words = last / 64 + 2;
        if words > self.words.len() {
            let more = words - self.words.len();
            reserve(&mut self.words, more)?;
            self.words.resize(words, 0);
        }
        Ok(())
    }

    /// Adds a place that is covered.
    #[inline]
    pub(super) fn insert(&mut self, at: usize) {
        self.words[at / 64] |= 1 << (at % 64);
    }

    /// Adds the places `at + i` for the bits `i` of `bits`; they are covered.
    #[inline]
    pub(super) fn insert_bits(&mut self, at: usize, bits: u64) {
        let (word, shift) = (at / 64, at % 64);
        self.words[word] |= bits << shift;
        self.words[word + 1] |= bits >> 1 >> (63 - shift);
    }

    /// Removes all places from `at` on, which is covered, and returns how many there were.
    #[inline]
    pub(super) fn truncate(&mut self, at: usize) -> usize {
        let kept = (1 << (at % 64)) - 1;
        let mut removed = (self.words[at / 64] & !kept).count_ones();
        self.words[at / 64] &= kept;
        for word in &mut self.words[at / 64 + 1..] {
            removed += word.count_ones();
            *word = 0;
        }
        removed as usize
    }

    /// Which of the 64 places from `at` on are in the set; `at` is covered.
    #[inline]
    pub(super) fn bits(&self, at: usize) -> u64 {
        let (word, shift) = (at / 64, at % 64);
        self.words[word] >> shift | self.words[word + 1] << 1 << (63 - shift)
    }

    /// The last place up to `at`, which is covered; 0 if there is none.
    #[inline]
    pub(super) fn last(&self, at: usize) -> usize {
        let mut word = at / 64;
        let mut bits = self.words[word] << (63 - at % 64) >> (63 - at % 64);
        while bits == 0 && word > 0 {
            word -= 1;
            bits = self.words[word];
        }
        word * 64 + (bits | 1).ilog2() as usize
    }

    /// The places from `at` on, which is covered.
    #[inline]
    pub(super) fn from(&self, at: usize) -> impl Iterator<Item = usize> {
        let first = at / 64;
        let bits = self.words[first] >> (at % 64) << (at % 64);
        let rest = self.words[first + 1..].iter().copied();
        (first..)
            .zip(std::iter::once(bits).chain(rest))
            .flat_map(|(word, bits)| ones(bits).map(move |bit| word * 64 + bit))
    }

    /// Gives a large set back.
    pub(super) fn release(&mut self) {
        if self.words.capacity() > KEEP {
            self.words = Vec::new();
        }
    }
}

/// The places of the bits of a word.
#[inline]
pub(super) fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros() as usize;
        let more = bits != 0;
        bits &= bits.wrapping_sub(1);
        more.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn does_what_a_set_does(
            steps in prop::collection::vec((0..4, 0..400_usize, any::<u64>()), 1..40),
        ) {
            let mut starts = Starts::default();
            starts.cover(500).unwrap();
            let mut twin = BTreeSet::new();
            for (step, at, bits) in steps {
                match step {
                    0 => {
                        starts.insert(at);
                        twin.insert(at);
                    }
                    1 => {
                        starts.insert_bits(at, bits);
                        twin.extend((0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| at + bit));
                    }
                    2 => prop_assert_eq!(starts.truncate(at), twin.split_off(&at).len()),
                    _ => {
                        let last = twin.range(..=at).next_back().copied();
                        prop_assert_eq!(starts.last(at), last.unwrap_or(0));
                    }
                }
                let rest: Vec<usize> = twin.range(at..).copied().collect();
                prop_assert_eq!(starts.from(at).collect::<Vec<_>>(), rest.clone());
                let next: Vec<usize> = ones(starts.bits(at)).map(|bit| at + bit).collect();
                prop_assert_eq!(next, rest.into_iter().take_while(|&one| one < at + 64).collect::<Vec<_>>());
            }
            starts.clear();
            starts.cover(500).unwrap();
            prop_assert_eq!(starts.from(0).count(), 0);
        }
    }
}
