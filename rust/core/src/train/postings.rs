//! Where pairs may be found: one array, of which each pair has a slice.
//!
//! The postings of a pair are written in one go, when it comes into being, and never grow. When the
//! array is full, those of pairs that will not be merged are dropped.

use super::pairs::Pairs;
use crate::memory::reserve;
use crate::{Error, Result};

/// A pair's postings.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slice {
    pub(super) start: u32,
    pub(super) length: u32,
}

impl Slice {
    #[inline]
    pub(super) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

#[derive(Debug, Default)]
pub(super) struct Postings {
    /// The first one belongs to no pair, so that 0 says that there is no slice.
    postings: Vec<u32>,
}

/// The array grows at least to so many.
const LEAST: usize = 1 << 16;

impl Postings {
    pub(super) fn new() -> Self {
        Self { postings: vec![0] }
    }

    pub(super) fn clear(&mut self) {
        self.postings.truncate(1);
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
        if self.postings.capacity() - self.postings.len() >= more {
            return Ok(());
        }
        self.collect(more, pairs, least)
    }

    #[cold]
    fn collect(&mut self, more: usize, pairs: &mut Pairs, least: u64) -> Result<()> {
        let live = pairs.iter_mut().map(|(_, pair)| pair);
        let mut live: Vec<_> = live.filter(|pair| pair.count >= least).collect();
        live.sort_unstable_by_key(|pair| pair.postings.start);
        let mut end = 1;
        for pair in live {
            let range = pair.postings.range();
            pair.postings.start = end as u32;
            let length = range.len();
            self.postings.copy_within(range, end);
            end += length;
        }
        self.postings.truncate(end);
        let wanted = end + more;
        if wanted > u32::MAX as usize {
            return Err(Error::TooMuchText {
                symbols: wanted as u64,
                limit: u32::MAX.into(),
            });
        }
        // Room for half as many again, or the next collection comes soon.
        if wanted + wanted / 3 > self.postings.capacity() {
            reserve(&mut self.postings, more + wanted / 2 + LEAST)?;
        }
        Ok(())
    }

    /// A slice for `length` postings, for which there is room.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Slice {
        let start = self.postings.len();
        self.postings.resize(start + length, 0);
        Slice {
            start: start as u32,
            length: length as u32,
        }
    }

    /// How many bytes of memory are in use.
    pub(super) fn memory(&self) -> usize {
        self.postings.capacity() * size_of::<u32>()
    }
}
