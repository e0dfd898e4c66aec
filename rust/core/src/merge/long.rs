//! Merging a long piece in O(n log n): symbols in a linked list laid over the
//! bytes, candidate merges in a heap ordered by (number, place).
//!
//! A symbol lives at its first byte. A heap entry is stale when the number
//! noted at its place has changed since; it is then dropped when it surfaces.
//! Each merge adds at most two entries and removes a symbol, so the heap never
//! takes more than 3n. The order (number, then place) is the order in which
//! `short` picks, so the results are equal; a million times `a` takes a fraction
//! of a second, where scanning would take minutes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::MergeRules;
use crate::memory::reserve;
use crate::simd::NO_MERGE;
use crate::{Error, Result};

/// The longest piece: places must fit beside a number in one heap entry.
const LIMIT: usize = u32::MAX as usize - 1;
/// Marks the end of the list, and bytes that are no longer a symbol's first.
const NONE: u32 = u32::MAX;
/// Buffers larger than this are given back after use.
const KEEP: usize = 1 << 16;

/// Reusable memory for long pieces.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    symbols: Vec<Symbol>,
    heap: Vec<Reverse<u64>>,
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

/// Appends the symbols of a piece of any length.
pub(super) fn merge(
    rules: &MergeRules,
    piece: &[u8],
    buffers: &mut Buffers,
    out: &mut Vec<u32>,
) -> Result<()> {
    lay_out(rules, piece, &mut buffers.symbols)?;
    let symbols = &mut buffers.symbols[..];
    let mut entries = std::mem::take(&mut buffers.heap);
    entries.clear();
    reserve(&mut entries, piece.len())?;
    entries.extend(
        (0..)
            .zip(symbols.iter())
            .filter_map(|(at, s)| entry(s.number, at).map(Reverse)),
    );
    let mut heap = BinaryHeap::from(entries);
    while let Some(Reverse(top)) = heap.pop() {
        let (number, at) = ((top >> 32) as u32, top as u32);
        if symbols[at as usize].number != number {
            continue;
        }
        join(rules, symbols, at, number);
        let before = symbols[at as usize].previous;
        heap.extend(refresh(rules, symbols, at).map(Reverse));
        heap.extend(refresh(rules, symbols, before).map(Reverse));
    }
    out.extend(ids(symbols));
    buffers.heap = heap.into_vec();
    buffers.release();
    Ok(())
}

/// The list of the bytes of a piece.
pub(super) fn lay_out(rules: &MergeRules, piece: &[u8], symbols: &mut Vec<Symbol>) -> Result<()> {
    if piece.len() > LIMIT {
        return Err(Error::PreTokenTooLong {
            bytes: piece.len(),
            limit: LIMIT,
        });
    }
    symbols.clear();
    reserve(symbols, piece.len())?;
    for (at, &byte) in (0u32..).zip(piece) {
        symbols.push(Symbol {
            id: u32::from(byte),
            previous: at.checked_sub(1).unwrap_or(NONE),
            next: at + 1,
            number: NO_MERGE,
        });
    }
    if let Some(last) = symbols.last_mut() {
        last.next = NONE;
    }
    for at in 1..symbols.len() {
        symbols[at - 1].number = rules.merge(symbols[at - 1].id, symbols[at].id);
    }
    Ok(())
}

/// The symbols that are left, in their order.
pub(super) fn ids(symbols: &[Symbol]) -> impl Iterator<Item = u32> {
    let place = |at: u32| symbols.get(at as usize);
    std::iter::successors(place(0), move |symbol| place(symbol.next)).map(|symbol| symbol.id)
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

impl Buffers {
    fn release(&mut self) {
        if self.symbols.capacity() > KEEP {
            self.symbols = Vec::new();
        }
        if self.heap.capacity() > KEEP {
            self.heap = Vec::new();
        }
    }
}
