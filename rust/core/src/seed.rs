//! Random seeds for hash tables whose keys come from outside.
//!
//! With a fixed hash function, a file or a training text can be made whose keys all
//! fall into one slot, and each look-up then walks through all of them. So every
//! table draws a seed of its own from the operating system's randomness (through
//! [`RandomState`], the only access to it without a dependency). No result may
//! depend on a seed: where an order matters, tables are sorted, never walked.

use std::hash::{BuildHasher, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What makes the hashes of one table differ from those of every other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed {
    first: u64,
    second: u64,
}

impl Seed {
    /// One that nobody outside this process knows, and different each time.
    pub(crate) fn random() -> Self {
        let random = RandomState::new();
        Self {
            first: random.hash_one(0_u8),
            second: random.hash_one(1_u8),
        }
    }

    /// One that everybody knows, for tests that craft keys.
    #[cfg(test)]
    pub(crate) fn fixed(number: u64) -> Self {
        let word = |part: u8| xxh3_64_with_seed(&[part], number);
        let (first, second) = (word(0), word(1));
        Self { first, second }
    }

    /// Numbers for hash functions of others. The same each time.
    pub(crate) fn secrets(self) -> [u128; 4] {
        [1, 3, 5, 7].map(|number| {
            let [low, high] = [number, number + 1].map(|part| self.of_pair(part, number));
            u128::from(high) << 64 | u128::from(low)
        })
    }

    /// The hash of a string of bytes.
    #[inline]
    pub(crate) fn of_bytes(self, bytes: &[u8]) -> u64 {
        xxh3_64_with_seed(bytes, self.first)
    }

    /// The hash of two words: both are hidden by the seed, then multiplied into each
    /// other, after the manner of wyhash.
    #[inline]
    pub(crate) fn of_pair(self, low: u64, high: u64) -> u64 {
        let low = low ^ self.first ^ 0xA076_1D64_78BD_642F;
        let high = high ^ self.second ^ 0xE703_7ED1_A0B4_28DB;
        let product = u128::from(low) * u128::from(high);
        product as u64 ^ (product >> 64) as u64
    }
}

impl Default for Seed {
    fn default() -> Self {
        Self::random()
    }
}

impl BuildHasher for Seed {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        SeededHasher {
            seed: *self,
            state: 0,
        }
    }
}

/// For keys of byte strings or small numbers in `std`'s tables.
#[derive(Debug, Clone)]
pub(crate) struct SeededHasher {
    seed: Seed,
    state: u64,
}

impl Hasher for SeededHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.state = self.seed.of_pair(self.state, self.seed.of_bytes(bytes));
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.state = self.seed.of_pair(self.state, number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

/// Keys that fall into one slot of a table of `slots` (a power of two) under `hash`.
#[cfg(test)]
pub(crate) fn colliding<K>(
    keys: impl Iterator<Item = K>,
    slots: usize,
    wanted: usize,
    hash: impl Fn(&K) -> u64,
) -> Vec<K> {
    let crafted = keys.filter(|key| hash(key) as usize & (slots - 1) == 0);
    crafted.take(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_table_has_a_seed_of_its_own() {
        let hashes: HashSet<u64> = (0..100)
            .map(|_| Seed::random().of_bytes(b"the same"))
            .collect();
        assert_eq!(hashes.len(), 100);
    }

    #[test]
    fn crafted_pairs_spread_under_another_seed() {
        const SLOTS: usize = 1 << 10;
        let known = Seed::fixed(0);
        let pairs = (0..1 << 22).map(|number: u32| (number >> 11, number & 0x7FF));
        let crafted = colliding(pairs, SLOTS, 500, |pair| known.hash_one(pair));
        assert_eq!(crafted.len(), 500);
        for seed in [Seed::fixed(1), Seed::random()] {
            let slot = |pair| seed.hash_one(pair) as usize & (SLOTS - 1);
            let taken: HashSet<usize> = crafted.iter().map(slot).collect();
            // 395 are expected of 500 in 1024; the deviation is 8.
            assert!(taken.len() > 300, "{seed:?}: {}", taken.len());
        }
    }

    #[test]
    fn bytes_and_their_order_enter() {
        let seed = Seed::fixed(7);
        let keys: [&[u8]; 5] = [b"", b"a", b"ab", b"ba", b"b"];
        let hashes: HashSet<u64> = keys.iter().map(|key| seed.hash_one(key)).collect();
        assert_eq!(hashes.len(), 5);
        assert_ne!(seed.hash_one((1_u32, 2_u32)), seed.hash_one((2_u32, 1_u32)));
    }
}
