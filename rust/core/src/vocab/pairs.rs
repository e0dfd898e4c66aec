//! Which pairs of tokens merge, how soon, and to what.
//!
//! A merge loop asks one question: "do these two neighbours merge, and with
//! which priority?" — about ten times per token it makes, so the answer must
//! cost one cache line. An entry is therefore a single `u64`: 21 bits left id,
//! 21 bits right id, 22 bits priority; eight to a line, at most half of the
//! slots in use, linear probing. The id that a merge makes is looked up by
//! priority, and only when the merge really happens.
//!
//! The multiplier of the hash is taken from the first keys' own bits, so a file
//! made to put all its pairs into one slot would have to predict it.

use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, Result};

/// The greatest id a token may have.
pub const GREATEST_ID: u32 = (1 << ID_BITS) - 2;
/// The number of merges a vocabulary may have.
pub const MERGE_LIMIT: usize = (1 << PRIORITY_BITS) - 1;

const ID_BITS: u32 = 21;
const PRIORITY_BITS: u32 = 22;
const PRIORITY_MASK: u64 = (1 << PRIORITY_BITS) - 1;
const EMPTY: u64 = u64::MAX;

/// No merge: greater than every priority.
pub(crate) const NEVER: u32 = u32::MAX;

/// (left id, right id) -> priority; the smallest priority merges first.
#[derive(Debug, Clone)]
pub(crate) struct PairTable {
    slots: Vec<u64>,
    used: usize,
    multiplier: u64,
}

impl PairTable {
    /// An empty table that takes `pairs` pairs without growing.
    pub(crate) fn with_capacity(pairs: usize) -> Self {
        Self::sized((pairs * 2).next_power_of_two().max(16), 0)
    }

    fn sized(slots: usize, seed: u64) -> Self {
        Self {
            slots: vec![EMPTY; slots],
            used: 0,
            multiplier: xxh3_64(&seed.to_le_bytes()) | 1,
        }
    }

    /// Adds a pair; `false`, and no change, when it is there already.
    ///
    /// Ids are at most [`GREATEST_ID`] and the priority below [`MERGE_LIMIT`].
    pub(crate) fn insert(&mut self, left: u32, right: u32, priority: u32) -> bool {
        if (self.used + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let key = key(left, right);
        let mut at = self.slot(key);
        while self.slots[at] != EMPTY {
            if self.slots[at] >> PRIORITY_BITS == key {
                return false;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = key << PRIORITY_BITS | u64::from(priority);
        self.used += 1;
        true
    }

    /// The priority of a pair, or [`NEVER`].
    #[inline]
    pub(crate) fn priority(&self, left: u32, right: u32) -> u32 {
        let key = key(left, right);
        let mask = self.slots.len() - 1;
        let mut at = self.slot(key);
        loop {
            let entry = self.slots[at & mask];
            if entry >> PRIORITY_BITS == key {
                return (entry & PRIORITY_MASK) as u32;
            }
            if entry == EMPTY {
                return NEVER;
            }
            at += 1;
        }
    }

    #[inline]
    fn slot(&self, key: u64) -> usize {
        let spread = key.wrapping_mul(self.multiplier);
        (spread >> (64 - self.slots.len().trailing_zeros())) as usize
    }

    fn grow(&mut self) {
        let seed = self.slots.iter().fold(self.multiplier, |all, &entry| {
            all.rotate_left(5).wrapping_add(entry)
        });
        let old = std::mem::replace(self, Self::sized(self.slots.len() * 2, seed));
        for entry in old.slots.into_iter().filter(|&entry| entry != EMPTY) {
            let mut at = self.slot(entry >> PRIORITY_BITS);
            while self.slots[at] != EMPTY {
                at = (at + 1) & (self.slots.len() - 1);
            }
            self.slots[at] = entry;
            self.used += 1;
        }
    }
}

#[inline]
fn key(left: u32, right: u32) -> u64 {
    u64::from(left) << ID_BITS | u64::from(right)
}

/// Everything a merge loop needs: where bytes start, what merges, what results.
#[derive(Debug, Clone)]
pub(crate) struct MergeRules {
    /// The id of every single byte.
    pub(crate) byte_ids: Box<[u32; 256]>,
    pub(crate) pairs: PairTable,
    /// Priority -> the id that the merge makes.
    pub(crate) made: Vec<u32>,
}

impl MergeRules {
    /// Rules without merges.
    pub(crate) fn new(byte_ids: Box<[u32; 256]>, merges: usize) -> Result<Self> {
        if merges > MERGE_LIMIT {
            return Err(Error::TooManyMerges {
                merges,
                limit: MERGE_LIMIT,
            });
        }
        Ok(Self {
            byte_ids,
            pairs: PairTable::with_capacity(merges),
            made: Vec::with_capacity(merges),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let mut table = PairTable::with_capacity(0);
        let mut twin = BTreeMap::new();
        let mut state = 1u64;
        for priority in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (left, right) = ((state >> 40) as u32 % 300, (state >> 20) as u32 % 300);
            let new = !twin.contains_key(&(left, right));
            assert_eq!(table.insert(left, right, priority), new);
            twin.entry((left, right)).or_insert(priority);
        }
        for left in 0..301 {
            for right in 0..301 {
                let expected = twin.get(&(left, right)).copied().unwrap_or(NEVER);
                assert_eq!(table.priority(left, right), expected);
            }
        }
    }

    #[test]
    fn holds_the_greatest_ids_and_priorities() {
        let mut table = PairTable::with_capacity(2);
        let last = (MERGE_LIMIT - 1) as u32;
        assert!(table.insert(GREATEST_ID, GREATEST_ID, last));
        assert_eq!(table.priority(GREATEST_ID, GREATEST_ID), last);
        assert_eq!(table.priority(GREATEST_ID, GREATEST_ID - 1), NEVER);
    }
}
