//! Which pair comes next.
//!
//! Counts only fall, so pairs come out by falling counts. They wait in buckets by count, eight to each
//! power of two; only the highest bucket that is not empty is a heap. Most pairs never get that
//! far. A pair's bucket and its entry in the heap hold the count that it had when it was put there;
//! whoever takes it out looks at the present one.
//!
//! `std`'s heap cannot be used because the order of [`super::TieBreak::Bytes`] needs
//! the tokens, which no entry can hold.

use std::cmp::Ordering;

use super::pairs::Key;
use super::tie_break::{Entry, Order};

/// The bucket of the greatest count, and one.
const BUCKETS: usize = 64 << 3;

#[derive(Debug)]
pub(super) struct Queue {
    buckets: Vec<Vec<Key>>,
    /// The bucket that is in the heap, with all above it.
    current: usize,
    heap: Heap,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            buckets: vec![Vec::new(); BUCKETS],
            current: BUCKETS,
            heap: Heap::default(),
        }
    }

    /// Forgets all pairs.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Puts a pair into its bucket. `entry` is made only if that bucket is in the heap.
    #[inline]
    pub(super) fn push(
        &mut self,
        order: &Order,
        pair: Key,
        count: u64,
        rank: impl FnOnce() -> u64,
    ) {
        let bucket = bucket(count);
        if bucket < self.current {
            self.buckets[bucket].push(pair);
            return;
        }
        let rank = rank();
        self.heap.push(order, Entry { count, rank, pair });
    }

    /// Takes the first entry of the heap, if there is one.
    pub(super) fn pop(&mut self, order: &Order) -> Option<Entry> {
        self.heap.pop(order)
    }

    /// The pair that comes next, if it is in the heap and nothing changes before.
    pub(super) fn peek(&self) -> Option<Key> {
        self.heap.entries.first().map(|entry| entry.pair)
    }

    /// The pairs of the highest bucket that is not empty, now that the heap is. The caller pushes them again.
    pub(super) fn next_bucket(&mut self) -> Option<Vec<Key>> {
        let filled = self.buckets[..self.current].iter();
        let highest = filled.rev().position(|bucket| !bucket.is_empty())?;
        self.current -= highest + 1;
        Some(std::mem::take(&mut self.buckets[self.current]))
    }
}

/// Eight buckets to each power of two; counts below eight have one each.
#[inline]
fn bucket(count: u64) -> usize {
    match count.checked_ilog2() {
        None | Some(0..3) => count as usize,
        Some(exponent) => (exponent as usize) << 3 | (count >> (exponent - 3) & 7) as usize,
    }
}

/// A binary heap whose order is handed in.
#[derive(Debug, Default)]
struct Heap {
    entries: Vec<Entry>,
}

impl Heap {
    fn push(&mut self, order: &Order, entry: Entry) {
        let mut at = self.entries.len();
        self.entries.push(entry);
        while at > 0 {
            let parent = (at - 1) / 2;
            if order.compare(&entry, &self.entries[parent]) != Ordering::Greater {
                break;
            }
            self.entries[at] = self.entries[parent];
            at = parent;
        }
        self.entries[at] = entry;
    }

    fn pop(&mut self, order: &Order) -> Option<Entry> {
        let last = self.entries.pop()?;
        let Some(&top) = self.entries.first() else {
            return Some(last);
        };
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            let Some(&left) = self.entries.get(child) else {
                break;
            };
            let mut greater = left;
            if let Some(&right) = self.entries.get(child + 1)
                && order.compare(&right, &left) == Ordering::Greater
            {
                child += 1;
                greater = right;
            }
            if order.compare(&greater, &last) != Ordering::Greater {
                break;
            }
            self.entries[at] = greater;
            at = child;
        }
        self.entries[at] = last;
        Some(top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_the_order_of_counts() {
        let counts = (0..10_000).chain((0..64).map(|bits| 1 << bits));
        let mut counts: Vec<u64> = counts.chain([u64::MAX]).collect();
        counts.sort_unstable();
        assert!(counts.is_sorted_by_key(|&count| bucket(count)));
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
