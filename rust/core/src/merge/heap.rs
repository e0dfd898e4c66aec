//! Merging with a heap, in O(n log n): symbols in a linked list laid over the
//! bytes, candidate merges in a heap ordered by (number, place).
//!
//! A symbol lives at its first byte. A heap entry is stale when the number
//! noted at its place has changed since; it is then dropped when it surfaces.
//! Each merge adds at most two entries and removes a symbol, so the heap never
//! takes more than 3n. The order (number, then place) is the order in which
//! `short` picks, so the results are equal.
//!
//! The list takes 16 bytes a byte of text and the heap 8 to 24, so a text of some megabytes does
//! not fit into a cache, and each merge waits for memory. `long` therefore merges windows, and
//! is tested against one heap over the whole piece.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Asking, MergeRules};
use crate::memory::reserve;
use crate::simd::NO_MERGE;
use crate::{Error, Result};

/// The most bytes: places must fit beside a number in one heap entry.
const LIMIT: usize = u32::MAX as usize - 1;
/// Marks the end of the list, and bytes that are no longer a symbol's first.
const NONE: u32 = u32::MAX;
/// Buffers larger than this are given back after use.
const KEEP: usize = 1 << 16;
/// Work is noted after so many steps.
const STEPS: usize = 1 << 10;

/// Reusable memory.
#[derive(Debug, Default)]
pub(super) struct Heap {
    symbols: Vec<Symbol>,
    entries: Vec<Reverse<u64>>,
}

/// A place in the list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    id: u32,
    pub(super) previous: u32,
    pub(super) next: u32,
    /// Of the pair with the next symbol.
    pub(super) number: u32,
}

impl Heap {
    /// Merges `bytes`; the result is [`Heap::symbols`].
    pub(super) fn merge(
        &mut self,
        rules: &MergeRules,
        bytes: &[u8],
        asking: &mut Asking<'_>,
    ) -> Result<()> {
        lay_out(rules, bytes, &mut self.symbols, asking)?;
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        let mut heap = BinaryHeap::from(entries);
        let merged = merge_list(rules, &mut self.symbols, &mut heap, asking);
        self.entries = heap.into_vec();
        merged
    }

    /// The symbols that are left, in their order, with their places.
    pub(super) fn symbols(&self) -> impl Iterator<Item = (usize, u32)> {
        symbols(&self.symbols)
    }

    /// Gives large buffers back.
    pub(super) fn release(&mut self) {
        if self.symbols.capacity() > KEEP {
            self.symbols = Vec::new();
        }
        if self.entries.capacity() > KEEP {
            self.entries = Vec::new();
        }
    }
}

fn merge_list(
    rules: &MergeRules,
    symbols: &mut [Symbol],
    heap: &mut BinaryHeap<Reverse<u64>>,
    asking: &mut Asking<'_>,
) -> Result<()> {
    room(heap, symbols.len())?;
    for (chunk, places) in symbols.chunks(STEPS).zip((0..).step_by(STEPS)) {
        let entries = (places..).zip(chunk);
        heap.extend(entries.filter_map(|(at, symbol)| entry(symbol.number, at).map(Reverse)));
        asking.worked(chunk.len())?;
    }
    let mut steps = 0;
    while let Some(Reverse(top)) = heap.pop() {
        steps += 1;
        if steps == STEPS {
            asking.worked(steps)?;
            steps = 0;
        }
        let (number, at) = ((top >> 32) as u32, top as u32);
        if symbols[at as usize].number != number {
            continue;
        }
        join(rules, symbols, at, number);
        let before = symbols[at as usize].previous;
        room(heap, 2)?;
        heap.extend(refresh(rules, symbols, at).map(Reverse));
        heap.extend(refresh(rules, symbols, before).map(Reverse));
    }
    Ok(())
}

/// Makes room for `more` entries.
#[inline]
fn room(heap: &mut BinaryHeap<Reverse<u64>>, more: usize) -> Result<()> {
    if heap.capacity() - heap.len() >= more {
        return Ok(());
    }
    heap.try_reserve(more).map_err(|_| Error::OutOfMemory {
        bytes: (heap.len() + more).saturating_mul(size_of::<u64>()),
    })
}

/// The list of the bytes of a piece.
pub(super) fn lay_out(
    rules: &MergeRules,
    piece: &[u8],
    symbols: &mut Vec<Symbol>,
    asking: &mut Asking<'_>,
) -> Result<()> {
    if piece.len() > LIMIT {
        return Err(Error::PreTokenTooLong {
            bytes: piece.len(),
            limit: LIMIT,
        });
    }
    symbols.clear();
    reserve(symbols, piece.len())?;
    for (chunk, first) in piece.chunks(STEPS).zip((0u32..).step_by(STEPS)) {
        for (at, &byte) in (first..).zip(chunk) {
            if let Some(before) = symbols.last_mut() {
                before.number = rules.merge_bytes(before.id as u8, byte);
            }
            symbols.push(Symbol {
                id: u32::from(byte),
                previous: at.checked_sub(1).unwrap_or(NONE),
                next: at + 1,
                number: NO_MERGE,
            });
        }
        asking.worked(chunk.len())?;
    }
    if let Some(last) = symbols.last_mut() {
        last.next = NONE;
    }
    Ok(())
}

/// The symbols that are left, in their order, with their places.
pub(super) fn symbols(list: &[Symbol]) -> impl Iterator<Item = (usize, u32)> {
    let place = |at: u32| list.get(at as usize).map(|symbol| (at, symbol));
    std::iter::successors(place(0), move |(_, symbol)| place(symbol.next))
        .map(|(at, symbol)| (at as usize, symbol.id))
}

/// Makes one symbol of the pair at `at`.
pub(super) fn join(rules: &MergeRules, symbols: &mut [Symbol], at: u32, number: u32) {
    let gone = symbols[at as usize].next;
    let after = symbols[gone as usize].next;
    symbols[gone as usize].number = NO_MERGE;
    symbols[at as usize].id = rules.made(number);
    symbols[at as usize].next = after;
    if let Some(symbol) = symbols.get_mut(after as usize) {
        symbol.previous = at;
    }
}

/// Asks again about the pair at `at`; its entry if it merges.
pub(super) fn refresh(rules: &MergeRules, symbols: &mut [Symbol], at: u32) -> Option<u64> {
    let symbol = *symbols.get(at as usize)?;
    let number = match symbols.get(symbol.next as usize) {
        Some(next) => rules.merge(symbol.id, next.id),
        None => NO_MERGE,
    };
    symbols[at as usize].number = number;
    entry(number, at)
}

/// A merge and its place, of which the least comes first.
pub(super) fn entry(number: u32, at: u32) -> Option<u64> {
    (number != NO_MERGE).then(|| u64::from(number) << 32 | u64::from(at))
}
