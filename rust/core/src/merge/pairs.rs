//! Which pairs of symbols merge.
//!
//! A merge loop asks about two pairs for each merge, and each answer should cost one
//! cache line. Pairs lie in lines of seven, at most half full on average; a pair whose
//! line is full goes to the next line, and a mark says so. The hash has a random
//! multiplier, so a file cannot be made whose pairs all fall into one line.

use crate::memory::Table;
use crate::seed::Seed;
use crate::simd::{NO_MERGE, NUMBER_BITS, PairLine, Pairs};

/// (left symbol, right symbol) -> the number of the merge.
#[derive(Debug)]
pub(super) struct PairTable {
    lines: Table<PairLine>,
    used: usize,
    multiplier: u64,
}

impl PairTable {
    /// An empty table that takes `pairs` pairs without growing.
    pub(super) fn with_capacity(pairs: usize) -> Self {
        let lines = (pairs * 2).div_ceil(PairLine::PAIRS).max(2);
        let mut lines = Table::zeroed(lines.next_power_of_two());
        lines.fill(PairLine([PairLine::EMPTY; 8]));
        Self {
            lines,
            used: 0,
            multiplier: Seed::random().of_pair(1, 2) | 1,
        }
    }

    /// Adds a pair; `false`, and no change, when it is there already.
    ///
    /// All three numbers are smaller than [`NO_MERGE`].
    pub(super) fn insert(&mut self, left: u32, right: u32, merge: u32) -> bool {
        if self.view().merge(left, right) != NO_MERGE {
            return false;
        }
        if (self.used + 1) * 2 > self.lines.len() * PairLine::PAIRS {
            self.grow();
        }
        self.place(u64::from(left) << NUMBER_BITS | u64::from(right), merge);
        true
    }

    fn place(&mut self, key: u64, merge: u32) {
        let mut at = self.view().line_of(key);
        let mask = self.lines.len() - 1;
        loop {
            let line = &mut self.lines[at & mask].0;
            let (pairs, mark) = line.split_at_mut(PairLine::PAIRS);
            if let Some(free) = pairs.iter_mut().find(|entry| **entry == PairLine::EMPTY) {
                *free = key << NUMBER_BITS | u64::from(merge);
                self.used += 1;
                return;
            }
            mark[0] = PairLine::FULL;
            at += 1;
        }
    }

    /// The table as the kernels read it.
    #[inline]
    pub(super) fn view(&self) -> Pairs<'_> {
        Pairs {
            lines: &self.lines,
            multiplier: self.multiplier,
            shift: 64 - self.lines.len().trailing_zeros(),
        }
    }

    fn grow(&mut self) {
        let wider = Self::with_capacity(self.lines.len() * PairLine::PAIRS);
        let old = std::mem::replace(self, wider);
        for line in &*old.lines {
            for &entry in &line.0[..PairLine::PAIRS] {
                if entry != PairLine::EMPTY {
                    self.place(entry >> NUMBER_BITS, entry as u32 & NO_MERGE);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let mut table = PairTable::with_capacity(0);
        let mut twin = BTreeMap::new();
        let mut state = 1u64;
        for merge in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (left, right) = ((state >> 40) as u32 % 300, (state >> 20) as u32 % 300);
            let new = !twin.contains_key(&(left, right));
            assert_eq!(table.insert(left, right, merge), new);
            twin.entry((left, right)).or_insert(merge);
        }
        for left in 0..301 {
            for right in 0..301 {
                let expected = twin.get(&(left, right)).copied().unwrap_or(NO_MERGE);
                assert_eq!(table.view().merge(left, right), expected);
            }
        }
    }

    #[test]
    fn holds_the_greatest_numbers() {
        let mut table = PairTable::with_capacity(2);
        let last = NO_MERGE - 1;
        assert!(table.insert(last, last, last));
        assert_eq!(table.view().merge(last, last), last);
        assert_eq!(table.view().merge(last, last - 1), NO_MERGE);
    }

    #[test]
    fn crafted_pairs_spread_in_another_table() {
        let line = |table: &PairTable, pair: (u32, u32)| {
            let key = u64::from(pair.0) << NUMBER_BITS | u64::from(pair.1);
            table.view().line_of(key)
        };
        let known = PairTable::with_capacity(3500);
        let pairs = (0..1 << 22).map(|number: u32| (number >> 11, number & 0x7FF));
        let crafted = pairs.filter(|&pair| line(&known, pair) == 0).take(1000);
        let crafted: Vec<_> = crafted.collect();
        assert_eq!(crafted.len(), 1000);
        let other = PairTable::with_capacity(3500);
        let taken: BTreeSet<_> = crafted.iter().map(|&pair| line(&other, pair)).collect();
        assert!(taken.len() > 50, "{}", taken.len());
    }
}
