//! The different words of the training text, as merged so far.
//!
//! A word of ordinary length is a record in one array: a header of four symbols (length, weight, a
//! sentinel), the symbols, and one sentinel or more up to a multiple of four. Merging reads
//! the record and writes it back shorter; at some eight symbols a word, that beats any
//! index into it. A posting, that is where a pair may be found, is the number of the record.
//!
//! Records of at most [`WINDOW`] symbols are searched and changed without a loop that depends on
//! their length: the array is read in windows of so many symbols, and compiled for a kernel with wide
//! registers each step is a few instructions.
//!
//! Postings may be out of date; whoever follows one checks what is there.

use std::collections::HashMap;

use super::births::Births;
use super::symbol::Symbol;
use crate::memory::Table;
use crate::simd::{Simd, WINDOW, Window};
use crate::{Error, Result};

/// Longer words are linked ([`super::linked`]).
pub(super) const LONGEST: usize = 200;
/// Records begin at multiples of so many symbols.
const UNIT: usize = 4;
/// So many sentinels stand behind the last record.
const BEHIND: usize = 2 * LONGEST;
/// Postings are smaller than this.
const LIMIT: usize = 1 << 31;

/// All words that are not linked.
#[derive(Debug)]
pub(super) struct Records<S> {
    /// The records, and sentinels so that a window can be read from every place.
    symbols: Table<S>,
    /// Where the records end.
    end: usize,
    /// Weights that fit in no header, by posting.
    heavy: HashMap<u32, u64>,
}

impl<S: Symbol> Records<S> {
    /// Room for words that [take](Self::taken) so many symbols.
    pub(super) fn with_room(symbols: usize) -> Result<Self> {
        if symbols / UNIT > LIMIT {
            return Err(Error::TooMuchText {
                symbols: symbols as u64,
                limit: (LIMIT * UNIT) as u64,
            });
        }
        let mut all = Table::zeroed(symbols + BEHIND);
        all[symbols..].fill(S::SENTINEL);
        Ok(Self {
            symbols: all,
            end: 0,
            heavy: HashMap::new(),
        })
    }

    /// How many symbols a word takes.
    pub(super) fn taken(word: &[u8]) -> usize {
        UNIT + (word.len() + 1).next_multiple_of(UNIT)
    }

    /// Adds a word of at most [`LONGEST`] bytes, for which there is room.
    #[inline]
    pub(super) fn push(&mut self, word: &[u8], weight: u64) {
        let start = self.end;
        let held = weight.min(S::MOST_WEIGHT);
        if held == S::MOST_WEIGHT {
            self.heavy.insert((start / UNIT) as u32, weight);
        }
        self.end += Self::taken(word);
        let (header, rest) = self.symbols[start..self.end].split_at_mut(UNIT);
        header.copy_from_slice(&S::header(word.len(), held));
        let (symbols, padding) = rest.split_at_mut(word.len());
        for (symbol, &byte) in symbols.iter_mut().zip(word) {
            *symbol = S::new(byte.into());
        }
        padding.fill(S::SENTINEL);
    }

    /// Calls `f` with every window of two symbols: left, right, weight and posting.
    #[inline(always)]
    pub(super) fn each_pair(&self, mut f: impl FnMut(S, S, u64, u32)) {
        let mut at = 0;
        while at < self.end {
            let (length, weight) = self.header(at);
            let posting = (at / UNIT) as u32;
            let word = &self.symbols[at + UNIT..][..length];
            for pair in word.windows(2) {
                f(pair[0], pair[1], weight, posting);
            }
            at = self.next(at, length);
        }
    }

    #[inline(always)]
    fn header(&self, at: usize) -> (usize, u64) {
        let Some(&header) = self.symbols.get(at..).and_then(|rest| rest.first_chunk()) else {
            return (0, 0);
        };
        let (length, weight) = S::read_header(header);
        if weight == S::MOST_WEIGHT {
            let heavy = self.heavy.get(&((at / UNIT) as u32));
            return (length, heavy.copied().unwrap_or(weight));
        }
        (length, weight)
    }

    /// Where the record after one of `length` symbols begins. Where a word became shorter, there are
    /// sentinels, and no header begins with one.
    #[inline(always)]
    fn next(&self, at: usize, length: usize) -> usize {
        let mut next = at + UNIT + (length + 1).next_multiple_of(UNIT);
        while next < self.end && self.symbols[next] == S::SENTINEL {
            next += UNIT;
        }
        next
    }

    /// Fetches a record that is merged soon.
    #[inline(always)]
    pub(super) fn fetch<K: Simd>(&self, kernel: K, posting: u32) {
        let at = posting as usize * UNIT;
        let address = self.symbols.as_ptr().wrapping_add(at);
        kernel.fetch(address.cast());
        kernel.fetch(address.wrapping_add(UNIT + WINDOW).cast());
    }

    /// Merges (left, right) into `id` in the record at `posting`, wherever it still stands there.
    #[inline(always)]
    pub(super) fn merge<K: Simd>(
        &mut self,
        kernel: K,
        posting: u32,
        (left, right): (S, S),
        id: S,
        births: &mut Births<S>,
    ) {
        let at = posting as usize * UNIT;
        let (length, weight) = self.header(at);
        let record = self
            .symbols
            .get_mut(at..)
            .and_then(|rest| rest.first_chunk_mut());
        let Some(record): Option<&mut [S; UNIT + WINDOW + 2]> = record else {
            return;
        };
        let Some(symbols) = record[UNIT..].first_chunk_mut() else {
            return;
        };
        let found = S::places(kernel, symbols, left, right);
        if length > WINDOW || found & (found.wrapping_sub(1)) != 0 {
            self.merge_longer(kernel, posting, (left, right), id, births);
            return;
        }
        let found = found & ((1 << length) - 1) >> 1;
        if found == 0 {
            return;
        }
        let place = found.trailing_zeros() as usize % WINDOW;
        S::replace(kernel, symbols, place, length, id);
        let (before, after) = (record[UNIT - 1 + place], record[UNIT + place + 1]);
        record[0] = S::new(record[0].id() - 1);
        births.add(posting, weight, before, after);
    }

    /// The same for a word of any length, with any number of merges.
    #[inline(always)]
    fn merge_longer<K: Simd>(
        &mut self,
        kernel: K,
        posting: u32,
        (left, right): (S, S),
        id: S,
        births: &mut Births<S>,
    ) {
        let at = posting as usize * UNIT;
        let (length, weight) = self.header(at);
        let word = &mut self.symbols[at + UNIT - 1..at + UNIT + length + WINDOW + 1];
        // Where the pair begins; the symbols begin behind the sentinel of the header.
        let mut places = [0_u8; LONGEST / 2];
        let mut count = 0;
        let mut free = 1;
        for from in (1..length).step_by(WINDOW) {
            let Some(window): Option<&Window<S>> = word[from..].first_chunk() else {
                break;
            };
            let mut found = S::places(kernel, window, left, right);
            while found != 0 {
                let place = from + found.trailing_zeros() as usize;
                found &= found - 1;
                // Of overlapping ones the first is merged.
                if place >= free && place < length && count < places.len() {
                    places[count] = place as u8;
                    count += 1;
                    free = place + 2;
                }
            }
        }
        let places = &places[..count];
        let Some(&first) = places.first() else { return };
        for (number, &place) in places.iter().enumerate() {
            let place = usize::from(place);
            let touches =
                |other: Option<&u8>| other.is_some_and(|&other| usize::from(other) == place + 2);
            let follows = number > 0 && usize::from(places[number - 1]) + 2 == place;
            let goes_on = touches(places.get(number + 1));
            let before = if follows {
                S::SENTINEL
            } else {
                word[place - 1]
            };
            let after = if goes_on {
                S::SENTINEL
            } else {
                word[place + 2]
            };
            if follows {
                births.add_twice(posting, weight);
            }
            births.add(posting, weight, before, after);
        }
        let mut write = usize::from(first);
        for (number, &place) in places.iter().enumerate() {
            let read = usize::from(place) + 2;
            let next = places
                .get(number + 1)
                .map_or(length + 1, |&next| next.into());
            word[write] = id;
            word.copy_within(read..next, write + 1);
            write += 1 + next - read;
        }
        word[write..=length].fill(S::SENTINEL);
        let header = &mut self.symbols[at];
        *header = S::new(header.id() - count as u32);
    }

    /// How many bytes of memory are in use.
    pub(super) fn memory(&self) -> usize {
        self.symbols.len() * size_of::<S>()
    }
}
