//! The pairs that may still be merged: their counts and where their postings are.
//!
//! Open addressing with linear probing. A pair is added once, in the merge in which it comes into
//! being, and its count only falls. Those that fell too low are left out when the table grows.

use crate::seed::Seed;
use crate::simd::Simd;

/// Two ids, the left one above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

impl Key {
    const NONE: Self = Self(u64::MAX);

    #[inline(always)]
    pub(super) fn new(left: u32, right: u32) -> Self {
        Self(u64::from(left) << 32 | u64::from(right))
    }

    /// A number in which the bits of both ids are mixed. Known to everybody: nothing but speed may depend on it.
    #[inline(always)]
    pub(super) fn spread(self) -> usize {
        (self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
    }

    #[inline(always)]
    pub(super) fn ids(self) -> (u32, u32) {
        ((self.0 >> 32) as u32, self.0 as u32)
    }
}

/// A pair's postings: a slice of [`super::postings::Postings`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slice {
    pub(super) start: u32,
    pub(super) length: u32,
}

impl Slice {
    #[inline]
    pub(super) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

/// A pair that may still be merged.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pair {
    pub(super) count: u64,
    pub(super) postings: Slice,
}

#[derive(Debug)]
pub(super) struct Pairs {
    seed: Seed,
    /// A power of two of them, at most half in use.
    keys: Vec<Key>,
    values: Vec<Pair>,
    used: usize,
}

impl Pairs {
    pub(super) fn new() -> Self {
        Self::with_slots(Seed::random(), 1 << 12)
    }

    fn with_slots(seed: Seed, slots: usize) -> Self {
        Self {
            seed,
            keys: vec![Key::NONE; slots],
            values: vec![Pair::default(); slots],
            used: 0,
        }
    }

    #[inline(always)]
    fn slot(&self, key: Key) -> usize {
        self.seed.of_pair(key.0, 0) as usize & (self.keys.len() - 1)
    }

    /// The slot of `key`, or the free one where it would be.
    #[inline(always)]
    fn find(&self, key: Key) -> usize {
        let mut at = self.slot(key);
        while self.keys[at] != key && self.keys[at] != Key::NONE {
            at = (at + 1) & (self.keys.len() - 1);
        }
        at
    }

    /// Fetches the slot of a pair that is looked up soon.
    #[inline(always)]
    pub(super) fn fetch<K: Simd>(&self, kernel: K, key: Key) {
        let slot = self.slot(key);
        kernel.fetch(self.keys.as_ptr().wrapping_add(slot).cast());
        kernel.fetch(self.values.as_ptr().wrapping_add(slot).cast());
    }

    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<&Pair> {
        let at = self.find(key);
        (self.keys[at] == key).then(|| &self.values[at])
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Pair> {
        let at = self.find(key);
        (self.keys[at] == key).then(|| &mut self.values[at])
    }

    /// The pair of a key, which is added if it is not there.
    #[inline]
    pub(super) fn entry(&mut self, key: Key, least: u64) -> &mut Pair {
        if self.used * 2 >= self.keys.len() {
            self.grow(least);
        }
        let at = self.find(key);
        if self.keys[at] == Key::NONE {
            self.keys[at] = key;
            self.values[at] = Pair::default();
            self.used += 1;
        }
        &mut self.values[at]
    }

    /// Adds a pair that is not there. Those whose counts are below `least` may go.
    #[inline]
    pub(super) fn insert(&mut self, key: Key, pair: Pair, least: u64) {
        *self.entry(key, least) = pair;
    }

    #[cold]
    fn grow(&mut self, least: u64) {
        let kept = self
            .values
            .iter()
            .filter(|pair| pair.count >= least)
            .count();
        let slots = (4 * kept).next_power_of_two().max(1 << 12);
        let mut grown = Self::with_slots(self.seed, slots);
        for (&key, &pair) in self.keys.iter().zip(&self.values) {
            if key != Key::NONE && pair.count >= least {
                let at = grown.find(key);
                grown.keys[at] = key;
                grown.values[at] = pair;
                grown.used += 1;
            }
        }
        *self = grown;
    }

    /// All pairs, in no order to rely on.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Pair)> + Clone {
        let all = self.keys.iter().zip(&self.values);
        all.filter(|(key, _)| **key != Key::NONE)
            .map(|(key, pair)| (*key, pair))
    }

    /// The same for writing.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Pair)> {
        let all = self.keys.iter().zip(&mut self.values);
        all.filter(|(key, _)| **key != Key::NONE)
            .map(|(key, pair)| (*key, pair))
    }
}
