//! One thread's counts: short words and long ones, and when each was first seen.

use super::long_words::LongWords;
use super::short_words::ShortWords;
use super::{GoOn, Tally};
use crate::Result;
use crate::simd::{Bucket, Hasher, Kernel, Key, LONGEST_KEY, Simd};

#[derive(Debug, Clone)]
pub(super) struct WordTable {
    kernel: Kernel,
    short: ShortWords,
    long: LongWords,
    /// The place of the next new word: greater than all before it.
    place: u64,
    /// The sum of all counts. While it fits in 64 bits, no count can overflow.
    total: u128,
}

impl WordTable {
    pub(super) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            short: ShortWords::new(kernel),
            long: LongWords::default(),
            place: 0,
            total: 0,
        }
    }

    pub(super) fn kernel(&self) -> Kernel {
        self.kernel
    }

    #[inline(always)]
    pub(super) fn buckets(&self) -> &[Bucket] {
        self.short.buckets()
    }

    pub(super) fn hasher(&self) -> Hasher {
        self.short.hasher()
    }

    #[inline]
    pub(super) fn long_hash(&self, word: &[u8]) -> u64 {
        self.long.hash(word)
    }

    #[inline(always)]
    pub(super) fn fetch_long<K: Simd>(&self, kernel: K, hashes: impl Iterator<Item = u64> + Clone) {
        self.long.fetch(kernel, hashes);
    }

    /// Makes room for `more` words. Slots and numbers found before are not valid any more.
    #[inline]
    pub(super) fn settle(&mut self, more: usize) -> Result<()> {
        self.short.settle(more)
    }

    /// From now on, new words are first seen at `place` and after it.
    pub(super) fn begin_at(&mut self, place: u64) {
        self.place = place;
    }

    /// Where the next new word is first seen.
    pub(super) fn place(&self) -> u64 {
        self.place
    }

    /// Adds `weight` to the counts of all short words with these numbers; the number 0 is passed over.
    /// All of these words, also those with the number 0, enter the sum.
    #[inline(always)]
    pub(super) fn add_all<K: Simd>(
        &mut self,
        kernel: K,
        numbers: &[u64],
        weight: u64,
    ) -> Result<()> {
        self.total += u128::from(weight) * numbers.len() as u128;
        if u64::try_from(self.total).is_err() {
            return self.short.add_all_checked(numbers, weight);
        }
        self.short.add_all(kernel, numbers, weight);
        Ok(())
    }

    /// Adds to the count of a word that is in the sum already.
    pub(super) fn add_key(&mut self, key: Key, slot: u32, count: u64) -> Result<()> {
        let tally = self.tally(count);
        // Sixteen zeros look like a free place in a bucket.
        if key == 0 {
            return self.full(key, tally);
        }
        match self.short.add(key, slot, tally)? {
            Some(is_new) => self.place += u64::from(is_new),
            None => self.full(key, tally)?,
        }
        Ok(())
    }

    /// The same for a word that is no key.
    pub(super) fn add_long(&mut self, word: &[u8], hash: u64, count: u64) -> Result<()> {
        let is_new = self.long.add(word, hash, self.tally(count))?;
        self.place += u64::from(is_new);
        Ok(())
    }

    /// A short word that does not fit there.
    #[cold]
    fn full(&mut self, key: Key, tally: Tally) -> Result<()> {
        let bytes = key.to_le_bytes();
        let word = &bytes[..crate::simd::key_length(key)];
        let is_new = self.long.add(word, self.long.hash(word), tally)?;
        self.place += u64::from(is_new);
        Ok(())
    }

    fn tally(&self, count: u64) -> Tally {
        Tally {
            count,
            place: self.place,
        }
    }

    /// Adds `count` occurrences of one word.
    pub(super) fn add(&mut self, word: &[u8], count: u64) -> Result<()> {
        if word.is_empty() || count == 0 {
            return Ok(());
        }
        self.total += u128::from(count);
        if word.len() > LONGEST_KEY || word.contains(&0xFF) {
            return self.add_long(word, self.long.hash(word), count);
        }
        self.settle(1)?;
        let mut padded = [0xFF; LONGEST_KEY];
        padded[..word.len()].copy_from_slice(word);
        let key = Key::from_le_bytes(padded);
        self.add_key(key, self.short.slot(key), count)
    }

    /// Adds the words of `other`, which are first seen `later` than they say there.
    pub(super) fn merge(&mut self, other: &Self, later: u64, go_on: GoOn<'_>) -> Result<()> {
        self.total += other.total;
        self.long.merge(&other.long, later, go_on)?;
        let long = &mut self.long;
        let mut full = |word: &[u8], tally| long.add(word, long.hash(word), tally).map(drop);
        self.short.merge(&other.short, later, go_on, &mut full)?;
        self.place = self.place.max(other.place.saturating_add(later));
        Ok(())
    }

    /// Different words.
    pub(super) fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    /// All words with their tallies.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Tally)> + Clone {
        self.short.iter().chain(self.long.iter())
    }

    /// Gives back the memory that is only needed to find words. Nothing can be added any more.
    pub(super) fn freeze(&mut self) {
        self.short.freeze();
        self.long.freeze();
    }

    /// How many bytes of memory are in use.
    pub(super) fn memory(&self) -> usize {
        self.short.memory() + self.long.memory()
    }
}
