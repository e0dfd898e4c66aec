//! Words of at most 16 bytes, counted.
//!
//! Such a word is its own key. A [`Bucket`] holds three keys and, as their values, the numbers
//! of the words in the order in which they came; counts lie in an array by number. The
//! words that came first are the frequent ones, so the part of the array that is in use
//! at any time is small.

use super::{BETWEEN_LOOKS, GoOn, Tally, look};
use std::ops::Range;

use crate::memory::{Table, reserve};
use crate::seed::Seed;
use crate::simd::{Bucket, Hasher, Job, Kernel, Key, LONGEST_KEY, Simd, Value, key_length};
use crate::{Error, Result};

/// Buckets of the first table: 64 KiB.
const FIRST_BITS: u32 = 10;
/// Buckets of the greatest table, of 2 GiB.
const MOST_BITS: u32 = 25;
/// Keys that are looked up together when tables are joined.
const GROUP: usize = 64;

#[derive(Debug)]
pub(super) struct ShortWords {
    kernel: Kernel,
    seed: Seed,
    hasher: Hasher,
    buckets: Table<Bucket>,
    bits: u32,
    /// The bytes of the words, padded as in a [`Key`]. Word 0 is none.
    words: Vec<[u8; LONGEST_KEY]>,
    /// The counts of the words. Word 0 takes the counts of those that are not known yet.
    counts: Vec<u64>,
    /// When each was first seen.
    places: Vec<u64>,
}

impl ShortWords {
    pub(super) fn new(kernel: Kernel) -> Self {
        let mut words = Self {
            kernel,
            seed: Seed::random(),
            hasher: Hasher::new(1, [0; 4]),
            buckets: Table::zeroed(0),
            bits: 0,
            words: vec![[0xFF; LONGEST_KEY]],
            counts: vec![0],
            places: vec![0],
        };
        words.set_buckets(Table::zeroed(1 << FIRST_BITS), FIRST_BITS);
        words
    }

    fn set_buckets(&mut self, buckets: Table<Bucket>, bits: u32) {
        self.bits = bits;
        self.buckets = buckets;
        self.hasher = Hasher::new(bits, self.seed.secrets());
    }

    /// Different words.
    pub(super) fn len(&self) -> usize {
        self.words.len() - 1
    }

    #[inline(always)]
    pub(super) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    #[inline(always)]
    pub(super) fn hasher(&self) -> Hasher {
        self.hasher
    }

    /// Whether another word may be added.
    #[inline]
    fn has_room(&self) -> bool {
        self.len() < self.most()
    }

    /// As many words as the buckets take: then nearly all of them are full.
    #[inline]
    fn most(&self) -> usize {
        self.buckets.len() / 2 * 5
    }

    /// Adds `weight` to the counts of all words with these numbers.
    #[inline(always)]
    pub(super) fn add_all<K: Simd>(&mut self, kernel: K, numbers: &[u64], weight: u64) {
        let counts = &mut self.counts[..];
        let (groups, rest) = numbers.as_chunks::<GROUP>();
        for group in groups {
            for &number in group {
                kernel.fetch(counts.as_ptr().wrapping_add(number as usize).cast());
            }
            for &number in group {
                if let Some(count) = counts.get_mut(number as usize) {
                    *count += weight;
                }
            }
        }
        for &number in rest {
            if let Some(count) = counts.get_mut(number as usize) {
                *count += weight;
            }
        }
    }

    /// The same where counts may overflow.
    #[cold]
    pub(super) fn add_all_checked(&mut self, numbers: &[u64], weight: u64) -> Result<()> {
        for &number in numbers.iter().filter(|&&number| number > 0) {
            if let Some(count) = self.counts.get_mut(number as usize) {
                *count = count.checked_add(weight).ok_or(Error::CountOverflow)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, key: Key, slot: u32, number: u64) {
        let mask = self.buckets.len() - 1;
        let mut at = slot as usize / size_of::<Bucket>();
        loop {
            let bucket = &mut self.buckets[at & mask];
            if let Some(way) = bucket.free_way() {
                bucket.set(way, key, Value(number));
                return;
            }
            at += 1;
        }
    }

    /// Adds to the count of a key, whose place is noted if it is new. Whether it was new, or `None`
    /// if it was and the table is full, which it stays.
    #[inline]
    pub(super) fn add(&mut self, key: Key, slot: u32, tally: Tally) -> Result<Option<bool>> {
        let has_room = self.has_room();
        let mask = self.buckets.len() - 1;
        let mut at = slot as usize / size_of::<Bucket>();
        let number = loop {
            let bucket = &mut self.buckets[at & mask];
            let value = bucket.get(key);
            if value != Value::ABSENT {
                break value.0 as usize;
            }
            let Some(way) = bucket.free_way() else {
                at += 1;
                continue;
            };
            if !has_room {
                return Ok(None);
            }
            bucket.set(way, key, Value(self.words.len() as u64));
            break 0;
        };
        if number != 0 {
            let count = &mut self.counts[number];
            *count = count.checked_add(tally.count).ok_or(Error::CountOverflow)?;
            self.places[number] = self.places[number].min(tally.place);
            return Ok(Some(false));
        }
        self.words.push(key.to_le_bytes());
        self.counts.push(tally.count);
        self.places.push(tally.place);
        Ok(Some(true))
    }

    /// Makes room for `more` words. Slots and numbers found before are not valid any more.
    ///
    /// The greatest table may have no room afterwards.
    #[inline]
    pub(super) fn settle(&mut self, more: usize) -> Result<()> {
        // Three halves of a word to a bucket: then one in thirty lies in another bucket than its own.
        let crowded = self.len() * 2 > self.buckets.len() * 3 || self.len() + more > self.most();
        if crowded && self.bits < MOST_BITS {
            let mut bits = self.bits + 1;
            // Where memory could not be had before, there are far too few buckets.
            while bits < MOST_BITS && (1 << bits) / 2 * 5 < self.len() + more {
                bits += 1;
            }
            self.grow(bits)?;
        }
        reserve(&mut self.words, more)?;
        reserve(&mut self.counts, more)?;
        reserve(&mut self.places, more)
    }

    #[cold]
    fn grow(&mut self, bits: u32) -> Result<()> {
        // The old ones go first: all that they know can be found again.
        self.buckets = Table::zeroed(0);
        match Table::try_zeroed(1 << bits) {
            Ok(buckets) => self.set_buckets(buckets, bits),
            Err(error) => {
                self.lose_buckets();
                return Err(error);
            }
        }
        self.kernel.run(Rebuild(self));
        Ok(())
    }

    /// Goes on with the fewest buckets. Where they are too few for the words, they stay empty until
    /// [`ShortWords::settle`] makes more, which comes before anything is added.
    fn lose_buckets(&mut self) {
        self.set_buckets(Table::zeroed(1 << FIRST_BITS), FIRST_BITS);
        if self.len() <= self.most() {
            self.kernel.run(Rebuild(self));
        }
    }

    /// Gives back the memory that is only needed to find words. Nothing can be added any more.
    pub(super) fn freeze(&mut self) {
        self.buckets = Table::zeroed(0);
    }

    /// The slot of a key, as the kernel finds it.
    pub(super) fn slot(&self, key: Key) -> u32 {
        self.kernel.run(Slot(self.hasher, key))
    }

    /// Adds the words of `other`, first seen `later` than they say. Those that found no room go to `full`.
    pub(super) fn merge(
        &mut self,
        other: &Self,
        later: u64,
        go_on: GoOn<'_>,
        full: &mut dyn FnMut(&[u8], Tally) -> Result<()>,
    ) -> Result<()> {
        let all = 1..other.words.len();
        for from in all.clone().step_by(BETWEEN_LOOKS) {
            look(go_on)?;
            self.kernel.run(Merge {
                words: self,
                other,
                range: from..all.end.min(from + BETWEEN_LOOKS),
                later,
                full,
            })?;
        }
        Ok(())
    }

    /// The words with their tallies, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Tally)> + Clone {
        let tallies = self.counts.iter().zip(&self.places);
        let words = self.words.iter().zip(tallies).skip(1);
        words.map(|(word, (&count, &place))| {
            let length = key_length(Key::from_le_bytes(*word));
            (&word[..length], Tally { count, place })
        })
    }

    /// How many bytes of memory are in use.
    pub(super) fn memory(&self) -> usize {
        self.buckets.len() * size_of::<Bucket>() + self.words.capacity() * (LONGEST_KEY + 16)
    }
}

/// Puts all words into empty buckets.
struct Rebuild<'w>(&'w mut ShortWords);

impl Job for Rebuild<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) {
        let words = self.0;
        for from in (1..words.words.len()).step_by(GROUP) {
            let (keys, slots, count) = group(kernel, words, &words.words[from..]);
            for at in 0..count {
                words.put(keys[at], slots[at], (from + at) as u64);
            }
        }
    }
}

/// The first keys, and their slots in `table`, which are fetched.
#[inline(always)]
fn group<K: Simd>(
    kernel: K,
    table: &ShortWords,
    words: &[[u8; LONGEST_KEY]],
) -> ([Key; GROUP], [u32; GROUP], usize) {
    let (mut keys, mut slots) = ([0; GROUP], [0; GROUP]);
    let count = words.len().min(GROUP);
    for at in 0..count {
        keys[at] = Key::from_le_bytes(words[at]);
        slots[at] = kernel.slot(table.hasher, keys[at]);
        let bucket = slots[at] as usize / size_of::<Bucket>();
        kernel.fetch(table.buckets.as_ptr().wrapping_add(bucket).cast());
    }
    (keys, slots, count)
}

/// [`ShortWords::slot`] for one kernel.
struct Slot(Hasher, Key);

impl Job for Slot {
    type Output = u32;

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) -> u32 {
        kernel.slot(self.0, self.1)
    }
}

/// [`ShortWords::merge`] for one kernel.
struct Merge<'w, 'f> {
    words: &'w mut ShortWords,
    other: &'w ShortWords,
    /// The words of the other table to add.
    range: Range<usize>,
    later: u64,
    full: &'f mut dyn FnMut(&[u8], Tally) -> Result<()>,
}

impl Job for Merge<'_, '_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) -> Result<()> {
        let Self {
            words,
            other,
            range,
            later,
            full,
        } = self;
        for from in range.clone().step_by(GROUP) {
            words.settle(GROUP)?;
            let (keys, slots, count) = group(kernel, words, &other.words[from..range.end]);
            for at in 0..count {
                let tally = Tally {
                    count: other.counts[from + at],
                    place: other.places[from + at] + later,
                };
                if words.add(keys[at], slots[at], tally)?.is_none() {
                    let bytes = keys[at].to_le_bytes();
                    full(&bytes[..key_length(keys[at])], tally)?;
                }
            }
        }
        Ok(())
    }
}

impl Clone for ShortWords {
    fn clone(&self) -> Self {
        let mut words = Self::new(self.kernel);
        words.words.clone_from(&self.words);
        words.counts.clone_from(&self.counts);
        words.places.clone_from(&self.places);
        words.set_buckets(Table::zeroed(1 << self.bits), self.bits);
        words.kernel.run(Rebuild(&mut words));
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_again_after_memory_could_not_be_had() {
        for words in [3, 40, 100_000] {
            let mut table = ShortWords::new(Kernel::best());
            let add_all = |table: &mut ShortWords| {
                for number in 0..words {
                    let key = Key::from_le_bytes(
                        *format!("{number:<15}\x0F")
                            .as_bytes()
                            .first_chunk()
                            .unwrap(),
                    );
                    table.settle(1).unwrap();
                    let tally = Tally {
                        count: 1,
                        place: number,
                    };
                    table.add(key, table.slot(key), tally).unwrap();
                }
            };
            add_all(&mut table);
            assert_eq!(table.len() as u64, words);
            table.lose_buckets();
            add_all(&mut table);
            assert_eq!(table.len() as u64, words);
            assert!(table.counts[1..].iter().all(|&count| count == 2));
        }
    }
}
