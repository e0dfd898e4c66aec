//! Long words: every symbol knows its neighbours.
//!
//! A long word (a base64 blob, a line of spaces, a text without pre-tokens) would be read
//! again in full for every pair in it if it were a record. Here a posting is the place of
//! the pair's left symbol, so that a merge costs what it changes and a word of a million
//! symbols O(n log n).

use super::GoOn;
use super::births::Births;
use super::parallel::look;
use super::symbol::Symbol;
use crate::memory::reserve;
use crate::simd::Simd;
use crate::{Error, Result};

/// Set in postings of linked words.
pub(super) const LINKED: u32 = 1 << 31;

/// Words that follow one another, with a sentinel before, between and after.
#[derive(Debug)]
pub(super) struct Linked<S> {
    symbols: Vec<S>,
    previous: Vec<u32>,
    next: Vec<u32>,
    /// First place and weight of each word.
    words: Vec<(u32, u64)>,
    /// The word asked for last: postings come in order, mostly.
    word: usize,
}

impl<S: Symbol> Linked<S> {
    pub(super) fn new() -> Self {
        Self {
            symbols: Vec::new(),
            previous: Vec::new(),
            next: Vec::new(),
            words: Vec::new(),
            word: 0,
        }
    }

    /// Adds a word, behind those that are there.
    pub(super) fn push(&mut self, word: &[u8], weight: u64, go_on: GoOn<'_>) -> Result<()> {
        let more = word.len() + 2;
        let symbols = self.symbols.len() as u64 + more as u64;
        let limit = u64::from(LINKED);
        if symbols > limit {
            return Err(Error::TooMuchText { symbols, limit });
        }
        reserve(&mut self.symbols, more)?;
        reserve(&mut self.previous, more)?;
        reserve(&mut self.next, more)?;
        if self.symbols.is_empty() {
            self.push_symbol(S::SENTINEL);
        }
        self.words.push((self.symbols.len() as u32, weight));
        for (number, &byte) in word.iter().enumerate() {
            self.push_symbol(S::new(byte.into()));
            look(number, go_on)?;
        }
        self.push_symbol(S::SENTINEL);
        Ok(())
    }

    fn push_symbol(&mut self, symbol: S) {
        let at = self.symbols.len() as u32;
        self.symbols.push(symbol);
        self.previous.push(at.wrapping_sub(1));
        self.next.push(at + 1);
    }

    /// Calls `f` with every window of two symbols, in order: left, right, weight and posting.
    pub(super) fn each_pair(
        &self,
        go_on: GoOn<'_>,
        mut f: impl FnMut(S, S, u64, u32),
    ) -> Result<()> {
        let mut number = 0;
        for &(start, weight) in &self.words {
            let mut at = start;
            loop {
                let next = self.next[at as usize];
                let right = self.symbols[next as usize];
                if right == S::SENTINEL {
                    break;
                }
                f(self.symbols[at as usize], right, weight, at | LINKED);
                at = next;
                number += 1;
                look(number, go_on)?;
            }
        }
        Ok(())
    }

    /// Whether (left, right) still stands at a place.
    #[inline]
    pub(super) fn stands(&self, at: u32, (left, right): (S, S)) -> bool {
        let at = at as usize;
        self.symbols[at] == left && self.symbols[self.next[at] as usize] == right
    }

    /// Fetches a place that is merged soon.
    #[inline(always)]
    pub(super) fn fetch<K: Simd>(&self, kernel: K, at: u32) {
        kernel.fetch(self.symbols.as_ptr().wrapping_add(at as usize).cast());
        kernel.fetch(self.next.as_ptr().wrapping_add(at as usize).cast());
        kernel.fetch(self.previous.as_ptr().wrapping_add(at as usize).cast());
    }

    /// Merges (left, right) into `id` at a place, if it still stands there.
    #[inline]
    pub(super) fn merge(&mut self, at: u32, pair: (S, S), id: S, births: &mut Births<S>) {
        if !self.stands(at, pair) {
            return;
        }
        let weight = self.weight_at(at);
        let gone = self.next[at as usize];
        let before = self.previous[at as usize];
        let after = self.next[gone as usize];
        let neighbour = self.symbols[before as usize];
        if neighbour == id {
            births.add_twice(before | LINKED, weight);
        } else {
            births.add(before | LINKED, weight, neighbour, S::SENTINEL);
        }
        let neighbour = self.symbols[after as usize];
        // If the pair stands there too it is merged next, and sees this one before it.
        if neighbour != S::SENTINEL && !self.stands(after, pair) {
            births.add(at | LINKED, weight, S::SENTINEL, neighbour);
        }
        self.symbols[at as usize] = id;
        self.symbols[gone as usize] = S::SENTINEL;
        self.next[at as usize] = after;
        self.previous[after as usize] = at;
    }

    /// How many bytes of memory are in use.
    pub(super) fn memory(&self) -> usize {
        self.symbols.capacity() * (size_of::<S>() + 8)
    }

    fn weight_at(&mut self, at: u32) -> u64 {
        let next = self.words.get(self.word + 1);
        if self.words[self.word].0 > at || next.is_some_and(|&(start, _)| start <= at) {
            self.word = self.words.partition_point(|&(start, _)| start <= at) - 1;
        }
        self.words[self.word].1
    }
}
