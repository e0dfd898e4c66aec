//! Where pairs may be found: one array, of which each pair has a slice.
//!
//! The postings of a pair are written in one go, when it comes into being, and never grow. When the
//! array is full, those of pairs that will not be merged are dropped.

use super::pairs::{Pairs, Slice};
use crate::memory::Table;
use crate::{Error, Result};

#[derive(Debug)]
pub(super) struct Postings {
    /// The first one belongs to no pair, so that 0 says that there is no slice.
    places: Table<u32>,
    /// How many are in use.
    end: usize,
    /// There should not be more than this.
    limit: usize,
}

/// The array grows at least to so many.
const LEAST: usize = 1 << 12;
/// So many are cheaper than to collect: 16 MiB, which are in use only as they are written.
const CHEAP: usize = 1 << 22;

impl Default for Postings {
    fn default() -> Self {
        Self {
            places: Table::zeroed(0),
            end: 1,
            limit: usize::MAX,
        }
    }
}

impl Postings {
    /// From now on, there are about `limit` postings at most.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn clear(&mut self) {
        self.end = 1;
    }

    /// How many are in use, with the first.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.end
    }

    #[inline]
    pub(super) fn all(&self) -> &[u32] {
        &self.places
    }

    #[inline]
    pub(super) fn all_mut(&mut self) -> &mut Table<u32> {
        &mut self.places
    }

    /// Makes room for `more` postings, as far as the limit allows. Pairs whose counts are below `least` lose theirs
    /// if room is short. Returns the least count of pairs that still have theirs, which is greater than `least` where
    /// the limit was reached.
    #[inline]
    pub(super) fn make_room(&mut self, more: usize, pairs: &mut Pairs, least: u64) -> Result<u64> {
        if self.places.len() >= self.end + more {
            return Ok(least);
        }
        self.collect(more, pairs, least)
    }

    #[cold]
    fn collect(&mut self, more: usize, pairs: &mut Pairs, least: u64) -> Result<u64> {
        let counted = pairs
            .iter()
            .map(|(_, pair)| (pair.count, pair.postings.length));
        let room = self.limit.saturating_sub(more) / 2; // or the next collection comes at once
        let least = self.least_that_fit(counted, least, more, room);
        let live = pairs.iter_mut().map(|(_, pair)| pair);
        let mut live: Vec<_> = live.filter(|pair| pair.count >= least).collect();
        live.sort_unstable_by_key(|pair| pair.postings.start);
        let wanted = live.iter().map(|pair| pair.postings.length as usize);
        let wanted = 1 + more + wanted.sum::<usize>();
        if wanted > u32::MAX as usize {
            return Err(Error::TooMuchText {
                symbols: wanted as u64,
                limit: u32::MAX.into(),
            });
        }
        // Room for half as many again, and for up to thrice as many of few, or the next collection comes soon.
        let spare = (wanted / 2).max((2 * wanted).min(CHEAP)) + LEAST;
        let grown = (wanted + spare).min(self.limit).max(wanted);
        let moved = wanted + wanted / 4 > self.places.len() && grown > self.places.len();
        let mut array = moved.then(|| Table::try_zeroed(grown)).transpose()?;
        self.end = 1;
        for pair in live {
            let (range, end) = (pair.postings.range(), self.end);
            pair.postings.start = end as u32;
            self.end += range.len();
            match &mut array {
                Some(array) => array[end..self.end].copy_from_slice(&self.places[range]),
                None => self.places.copy_within(range, end),
            }
        }
        if let Some(array) = array {
            self.places = array;
        }
        Ok(least)
    }

    /// The least count, `least` or more, so that pairs of that count and above have at most `room` postings if
    /// there would be more than the limit allows with `more`. The pairs of the greatest count always fit.
    pub(super) fn least_that_fit(
        &self,
        counted: impl Iterator<Item = (u64, u32)>,
        least: u64,
        more: usize,
        room: usize,
    ) -> u64 {
        let mut counted: Vec<_> = counted.filter(|&(count, _)| count >= least).collect();
        let mut postings: usize = counted.iter().map(|&(_, length)| length as usize).sum();
        if postings + more <= self.limit {
            return least;
        }
        counted.sort_unstable();
        let greatest = counted.last().map_or(least, |&(count, _)| count);
        let mut fitting = least;
        for (count, length) in counted {
            if postings <= room || fitting == greatest {
                break;
            }
            // This one goes, and with it all of its count.
            postings -= length as usize;
            fitting = greatest.min(count + 1);
        }
        fitting
    }

    /// A slice for `length` postings, for which there is room. What is in it is to be written.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Slice {
        let start = self.end;
        self.end += length;
        Slice {
            start: start as u32,
            length: length as u32,
        }
    }
}
