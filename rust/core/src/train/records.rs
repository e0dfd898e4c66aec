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

use super::GoOn;
use super::births::Births;
use super::parallel::look;
use super::symbol::Symbol;
use crate::memory::Table;
use crate::simd::{Simd, WINDOW, Window};
use crate::{Error, Result};

/// Longer words are linked ([`super::linked`]).
pub(super) const LONGEST: usize = 200;
/// Records begin at multiples of so many symbols.
const UNIT: usize = 4;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Of a long record no more lines are fetched, and one.
const MOST_LINES: usize = 4;
/// So many sentinels stand behind the last record.
const BEHIND: usize = 2 * LONGEST;
/// Postings are smaller than this.
const LIMIT: usize = 1 << 31;

/// A share of the words that are not linked.
#[derive(Debug)]
pub(super) struct Records<S> {
    /// The posting of the first record.
    first: u32,
    /// The records, and sentinels so that a window can be read from every place.
    symbols: Table<S>,
    /// Where the records end.
    end: usize,
    words: usize,
    /// About how many symbols they have, headers included.
    left: usize,
    /// Weights that fit in no header, by where the record begins, in units.
    heavy: HashMap<u32, u64>,
}

impl<S: Symbol> Records<S> {
    /// Room for words that [take](Self::taken) so many symbols.
    pub(super) fn with_room(words: usize, symbols: usize) -> Result<Self> {
        check_room(symbols)?;
        let mut all = Table::try_zeroed(symbols + BEHIND)?;
        all[symbols..].fill(S::SENTINEL);
        Ok(Self {
            first: 0,
            symbols: all,
            end: 0,
            words,
            left: symbols,
            heavy: HashMap::new(),
        })
    }

    /// No words.
    pub(super) fn none() -> Self {
        Self {
            first: 0,
            symbols: Table::zeroed(0),
            end: 0,
            words: 0,
            left: 0,
            heavy: HashMap::new(),
        }
    }

    /// From now on, postings begin at `first`. Returns where those of the next share begin.
    pub(super) fn begin_at(&mut self, first: u32) -> Result<u32> {
        self.first = first;
        let end = first as usize + self.end / UNIT;
        check_room(end * UNIT)?;
        Ok(end as u32)
    }

    /// Greater than the postings of all records here.
    pub(super) fn end(&self) -> u32 {
        self.first + (self.end / UNIT) as u32
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
        let (header, rest) = self.symbols[start..].split_at_mut(UNIT);
        header.copy_from_slice(&S::header(word.len(), held));
        // Whole windows, which is faster than as many as there are. What they overwrite comes later.
        let (blocks, _) = rest.as_chunks_mut::<WINDOW>();
        let (full, tail) = word.as_chunks::<WINDOW>();
        for (block, bytes) in blocks.iter_mut().zip(full) {
            *block = bytes.map(|byte| S::new(byte.into()));
        }
        let mut bytes = [0; WINDOW];
        bytes[..tail.len()].copy_from_slice(tail);
        blocks[full.len()] = std::array::from_fn(|at| {
            if at < tail.len() {
                S::new(bytes[at].into())
            } else {
                S::SENTINEL
            }
        });
    }

    /// Calls `f` with every window of two symbols: left, right, weight and posting.
    #[inline(always)]
    pub(super) fn each_pair(
        &self,
        go_on: GoOn<'_>,
        mut f: impl FnMut(S, S, u64, u32),
    ) -> Result<()> {
        let (mut at, mut number) = (0, 0);
        while at < self.end {
            let (length, weight) = self.header(at);
            let posting = self.first + (at / UNIT) as u32;
            let word = &self.symbols[at + UNIT..][..length];
            for pair in word.windows(2) {
                f(pair[0], pair[1], weight, posting);
            }
            at = self.next(at, length);
            number += 1;
            look(number, go_on)?;
        }
        Ok(())
    }

    fn header(&self, at: usize) -> (usize, u64) {
        header(&self.symbols, &self.heavy, at)
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

    /// How many bytes of memory are in use.
    pub(super) fn memory(&self) -> usize {
        self.symbols.len() * size_of::<S>()
    }

    /// For merging.
    #[inline(always)]
    pub(super) fn open(&mut self) -> Open<'_, S> {
        // A record of average length, wherever it begins in a line.
        let bytes = self.left * size_of::<S>() / self.words.max(1);
        Open {
            first: self.first,
            symbols: &mut self.symbols,
            heavy: &self.heavy,
            lines: bytes.div_ceil(LINE).min(MOST_LINES) + 1,
        }
    }

    /// Notes that words became shorter by so many symbols together.
    pub(super) fn shrink(&mut self, symbols: usize) {
        self.left = self.left.saturating_sub(symbols);
    }
}

fn check_room(symbols: usize) -> Result<()> {
    if symbols / UNIT > LIMIT {
        return Err(Error::TooMuchText {
            symbols: symbols as u64,
            limit: (LIMIT * UNIT) as u64,
        });
    }
    Ok(())
}

#[inline(always)]
fn header<S: Symbol>(symbols: &[S], heavy: &HashMap<u32, u64>, at: usize) -> (usize, u64) {
    let Some(&header) = symbols.get(at..).and_then(|rest| rest.first_chunk()) else {
        return (0, 0);
    };
    let (length, weight) = S::read_header(header);
    if weight == S::MOST_WEIGHT {
        return (length, heavy_weight(heavy, at));
    }
    (length, weight)
}

#[cold]
#[inline(never)]
fn heavy_weight(heavy: &HashMap<u32, u64>, at: usize) -> u64 {
    let weight = heavy.get(&((at / UNIT) as u32));
    weight.copied().unwrap_or(u64::MAX)
}

/// The records while a pair is merged in many of them.
pub(super) struct Open<'r, S> {
    first: u32,
    symbols: &'r mut [S],
    heavy: &'r HashMap<u32, u64>,
    lines: usize,
}

impl<S: Symbol> Open<'_, S> {
    #[inline(always)]
    fn at(&self, posting: u32) -> usize {
        posting.wrapping_sub(self.first) as usize * UNIT
    }

    /// Fetches a record that is merged soon.
    #[inline(always)]
    pub(super) fn fetch<K: Simd>(&self, kernel: K, posting: u32) {
        let address: *const S = self.symbols.as_ptr();
        let address = address.wrapping_add(self.at(posting)).cast::<u8>();
        kernel.fetch(address);
        kernel.fetch(address.wrapping_add(LINE));
        for line in 2..self.lines {
            kernel.fetch(address.wrapping_add(line * LINE));
        }
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
        let at = self.at(posting);
        let (length, weight) = header(self.symbols, self.heavy, at);
        let Some(record) = self.symbols.get_mut(at..) else {
            return;
        };
        if length <= WINDOW
            && let Some(record) = record.first_chunk_mut::<{ UNIT + WINDOW + 2 }>()
            && let Some(symbols) = record[UNIT..].first_chunk_mut()
        {
            let found = S::places(kernel, symbols, left, right) & ((1 << length) - 1) >> 1;
            if found == 0 {
                return;
            }
            if found.is_power_of_two() {
                let place = found.trailing_zeros() as usize % WINDOW;
                S::replace(kernel, symbols, place, length, id);
                let (before, after) = (record[UNIT - 1 + place], record[UNIT + place + 1]);
                record[0] = S::new(record[0].id() - 1);
                births.add(posting, weight, before, after);
                return;
            }
        }
        let at = (posting, length, weight);
        match find(kernel, record, length, (left, right)) {
            (0, _) => {}
            (1, place) => merge_one(kernel, record, at, place, id, births),
            _ => merge_some(record, at, (left, right), id, births),
        }
    }
}

/// How often a pair stands in a record, and where first, counted from the header's sentinel.
#[inline(always)]
fn find<K: Simd, S: Symbol>(
    kernel: K,
    record: &[S],
    length: usize,
    (left, right): (S, S),
) -> (u32, usize) {
    let word = &record[UNIT - 1..];
    let (mut count, mut first) = (0, 0);
    for from in (1..length).step_by(WINDOW) {
        let Some(window): Option<&Window<S>> = word[from..].first_chunk() else {
            break;
        };
        let within = (1_u32 << (length - from).min(WINDOW)) - 1;
        let found = S::places(kernel, window, left, right) & within;
        if found != 0 && count == 0 {
            first = from + found.trailing_zeros() as usize;
        }
        count += found.count_ones();
    }
    (count, first)
}

/// Merges the pair at one place.
#[inline(always)]
fn merge_one<K: Simd, S: Symbol>(
    kernel: K,
    record: &mut [S],
    (posting, length, weight): (u32, usize, u64),
    place: usize,
    id: S,
    births: &mut Births<S>,
) {
    record[0] = S::new(record[0].id() - 1);
    let word = &mut record[UNIT - 1..];
    births.add(posting, weight, word[place - 1], word[place + 2]);
    // What lies behind moves up by one, a window at a time.
    let mut from = place;
    while from <= length {
        let Some(window) = word[from..].first_chunk_mut() else {
            break;
        };
        let moved = (length + 1 - from).min(WINDOW);
        let first = window[1];
        S::replace(
            kernel,
            window,
            0,
            moved,
            if from == place { id } else { first },
        );
        from += WINDOW;
    }
}

/// Merges the pair at several places; of places that overlap, at the first.
#[inline(never)]
fn merge_some<S: Symbol>(
    record: &mut [S],
    (posting, length, weight): (u32, usize, u64),
    (left, right): (S, S),
    id: S,
    births: &mut Births<S>,
) {
    let word = &mut record[UNIT - 1..];
    let (mut read, mut write, mut count) = (1, 1, 0);
    let mut follows = false;
    while read <= length {
        if word[read] != left || word[read + 1] != right {
            word[write] = word[read];
            read += 1;
            write += 1;
            follows = false;
            continue;
        }
        read += 2;
        // If the pair stands there again, that merge sees this one before it.
        let goes_on = word[read] == left && word[read + 1] == right;
        let after = if goes_on { S::SENTINEL } else { word[read] };
        if follows {
            births.add_twice(posting, weight);
            births.add(posting, weight, S::SENTINEL, after);
        } else {
            births.add(posting, weight, word[write - 1], after);
        }
        word[write] = id;
        write += 1;
        count += 1;
        follows = true;
    }
    word[write..=length].fill(S::SENTINEL);
    record[0] = S::new(record[0].id() - count);
}
