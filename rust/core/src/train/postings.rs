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
    postings: Table<u32>,
    /// How many are in use.
    end: usize,
}

impl Default for Postings {
    fn default() -> Self {
        Self {
            postings: Table::zeroed(0),
            end: 1,
        }
    }
}

/// The array grows at least to so many.
const LEAST: usize = 1 << 16;

impl Postings {
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
        &self.postings
    }

    #[inline]
    pub(super) fn all_mut(&mut self) -> &mut [u32] {
        &mut self.postings
    }

    /// Makes room for `more` postings. Pairs whose counts are below `least` lose theirs if room is short.
    #[inline]
    pub(super) fn make_room(&mut self, more: usize, pairs: &mut Pairs, least: u64) -> Result<()> {
        if self.postings.len() >= self.end + more {
            return Ok(());
        }
        self.collect(more, pairs, least)
    }

    #[cold]
    fn collect(&mut self, more: usize, pairs: &mut Pairs, least: u64) -> Result<()> {
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
        // Room for half as many again, or the next collection comes soon.
        let grown = wanted + wanted / 2 + LEAST;
        let moved = wanted + wanted / 4 > self.postings.len();
        let mut array = moved.then(|| Table::zeroed(grown));
        self.end = 1;
        for pair in live {
            let (range, end) = (pair.postings.range(), self.end);
            pair.postings.start = end as u32;
            self.end += range.len();
            match &mut array {
                Some(array) => array[end..self.end].copy_from_slice(&self.postings[range]),
                None => self.postings.copy_within(range, end),
            }
        }
        if let Some(array) = array {
            self.postings = array;
        }
        Ok(())
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
