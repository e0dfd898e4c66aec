//! Counting all pairs in the words as they are.

use super::GoOn;
use super::births::NOWHERE;
use super::merge::Merger;
use super::pairs::{Key, Pair, Pairs};
use super::symbol::Symbol;
use crate::Result;

/// Sums of the counts of all pairs that share a cell: a pair whose cell is below the threshold is below it too.
const CELLS: usize = 1 << 17;

impl<S: Symbol> Merger<S> {
    /// Counts the pairs of bytes, before anything is merged, and keeps those at or above the threshold.
    pub(super) fn count_bytes(&mut self, go_on: GoOn<'_>) -> Result<()> {
        let shares = self.words.take_byte_counts();
        let Some((first, others)) = shares.split_first() else {
            return self.recount(go_on);
        };
        let mut counts = first.clone();
        for share in others {
            for ((sum, count), (more, windows)) in counts.iter_mut().zip(share) {
                *sum += more;
                *count += windows;
            }
        }
        let wanted = self.raise_to_fit(counts.iter().copied());
        let least = self.threshold.now();
        self.postings.make_room(wanted, &mut self.pairs, least)?;
        let keys = (0..).map(|number| Key::new(number >> 8, number & 0xFF));
        let mut kept = Vec::new();
        let mut keep = |(key, &(weight, count)): (Key, &(u64, u32))| {
            if weight < least {
                return NOWHERE;
            }
            kept.push(key);
            self.keep_counted(key, weight, count)
        };
        let starts: Vec<u32> = keys.zip(&counts).map(&mut keep).collect();
        let postings = self.postings.all_mut();
        self.words
            .write_postings(&shares, &starts, postings, go_on)?;
        for key in kept {
            self.enqueue_kept(key);
        }
        Ok(())
    }

    /// Lowers the threshold and counts all pairs again; whether that could be done.
    pub(super) fn lower_threshold(&mut self, done: usize, go_on: GoOn<'_>) -> Result<bool> {
        if !self.threshold.lower(done) {
            return Ok(false);
        }
        self.recount(go_on)?;
        Ok(true)
    }

    /// Counts all pairs, and keeps those at or above the threshold.
    pub(super) fn recount(&mut self, go_on: GoOn<'_>) -> Result<()> {
        let least = self.threshold.now();
        self.queue.clear();
        self.postings.clear();
        self.pairs = Pairs::new();
        let symbols = usize::try_from(self.words.symbols).unwrap_or(CELLS);
        let mut cells = vec![0_u64; symbols.next_power_of_two().min(CELLS)];
        let mask = cells.len() - 1;
        let cell = |key: Key| key.spread() & mask;
        self.words
            .each_pair(go_on, |key, weight, _| cells[cell(key)] += weight)?;
        let mut counted = Pairs::new();
        self.words.each_pair(go_on, |key, weight, _| {
            if cells[cell(key)] >= least {
                let pair = counted.entry(key, 0);
                pair.count += weight;
                pair.postings.length += 1;
            }
        })?;
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
        self.words.each_pair(go_on, |key, _, posting| {
            if cells[cell(key)] >= least
                && let Some(Pair { postings, .. }) = pairs.get_mut(key)
            {
                room[(postings.start + postings.length) as usize] = posting;
                postings.length += 1;
            }
        })?;
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
}
