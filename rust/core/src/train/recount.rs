//! Counting all pairs in the words as they are.

use super::births::NOWHERE;
use super::merge::Merger;
use super::pairs::{Key, Pair, Pairs};
use super::symbol::Symbol;
use crate::Result;

/// Sums of the counts of all pairs that share a cell: a pair whose cell is below the threshold is below it too.
const CELLS: usize = 1 << 17;

impl<S: Symbol> Merger<S> {
    /// Counts the pairs of bytes, before anything is merged, and keeps those at or above the threshold.
    pub(super) fn count_bytes(&mut self) -> Result<()> {
        let mut counts = vec![(0_u64, 0_u32); 1 << 16];
        let index = |key: Key| {
            let (left, right) = key.ids();
            (left << 8 | right) as usize & 0xFFFF
        };
        self.each_pair(|key, weight, _| {
            let (sum, count) = &mut counts[index(key)];
            *sum += weight;
            *count += 1;
        });
        let wanted = self.raise_to_fit(counts.iter().copied());
        let least = self.threshold.now();
        self.postings.make_room(wanted, &mut self.pairs, least)?;
        // Where the next posting goes, and by how much that moves.
        let mut cursors = vec![(NOWHERE, 0_u32); 1 << 16];
        let keys = (0..1 << 16).map(|number| Key::new(number >> 8, number & 0xFF));
        let mut kept = Vec::new();
        for ((key, cursor), &(weight, count)) in keys.zip(&mut cursors).zip(&counts) {
            if weight >= least {
                *cursor = (self.keep_counted(key, weight, count), 1);
            }
            if cursor.0 == NOWHERE {
                cursor.1 = 0;
            } else {
                kept.push(key);
            }
        }
        let mut postings = std::mem::take(&mut self.postings);
        let room = postings.all_mut();
        self.each_pair(|key, _, posting| {
            let (cursor, step) = &mut cursors[index(key)];
            if let Some(place) = room.get_mut(*cursor as usize) {
                *place = posting;
            }
            *cursor += *step;
        });
        self.postings = postings;
        for key in kept {
            self.enqueue_kept(key);
        }
        Ok(())
    }

    /// Lowers the threshold and counts all pairs again; whether that could be done.
    pub(super) fn lower_threshold(&mut self, done: usize) -> Result<bool> {
        if !self.threshold.lower(done) {
            return Ok(false);
        }
        self.recount()?;
        Ok(true)
    }

    /// Counts all pairs, and keeps those at or above the threshold.
    pub(super) fn recount(&mut self) -> Result<()> {
        let least = self.threshold.now();
        self.queue.clear();
        self.postings.clear();
        self.pairs = Pairs::new();
        let mut cells = vec![0_u64; CELLS];
        let cell = |key: Key| key.spread() & (CELLS - 1);
        self.each_pair(|key, weight, _| cells[cell(key)] += weight);
        let mut counted = Pairs::new();
        self.each_pair(|key, weight, _| {
            if cells[cell(key)] >= least {
                let pair = counted.entry(key, 0);
                pair.count += weight;
                pair.postings.length += 1;
            }
        });
        let counts = counted
            .iter()
            .map(|(_, pair)| (pair.count, pair.postings.length));
        let wanted = self.raise_to_fit(counts);
        let least = self.threshold.now();
        self.postings.make_room(wanted, &mut self.pairs, least)?;
        for (key, pair) in counted.iter() {
            self.keep_counted(key, pair.count, pair.postings.length);
        }
        drop(counted);
        let mut pairs = std::mem::replace(&mut self.pairs, Pairs::new());
        let mut postings = std::mem::take(&mut self.postings);
        for (_, pair) in pairs.iter_mut() {
            pair.postings.length = 0;
        }
        let room = postings.all_mut();
        self.each_pair(|key, _, posting| {
            if cells[cell(key)] >= least
                && let Some(Pair { postings, .. }) = pairs.get_mut(key)
            {
                room[(postings.start + postings.length) as usize] = posting;
                postings.length += 1;
            }
        });
        let kept: Vec<Key> = pairs.iter().map(|(key, _)| key).collect();
        (self.pairs, self.postings) = (pairs, postings);
        for key in kept {
            self.enqueue_kept(key);
        }
        Ok(())
    }

    /// Raises the threshold until the postings of pairs of these counts are not too many; how many they are.
    fn raise_to_fit(&mut self, counts: impl Iterator<Item = (u64, u32)> + Clone) -> usize {
        let now = self.threshold.now();
        let room = self.postings.limit() / 2;
        let least = self.postings.least_that_fit(counts.clone(), now, 0, room);
        self.threshold.raise(least);
        let kept = counts.filter(|&(count, _)| count >= least);
        kept.map(|(_, length)| length as usize).sum()
    }

    #[inline(always)]
    fn each_pair(&self, mut f: impl FnMut(Key, u64, u32)) {
        let mut each = |left: S, right: S, weight, posting| {
            f(Key::new(left.id(), right.id()), weight, posting);
        };
        self.records.each_pair(&mut each);
        self.linked.each_pair(&mut each);
    }
}
