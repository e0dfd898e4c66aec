//! Laying out the words: each thread takes a share of them.
//!
//! The shares do not change what is learned: a pair's count is the sum over all of them.

use std::cell::RefCell;

use super::births::NOWHERE;
use super::linked::Linked;
use super::pairs::Key;
use super::parallel::{self, BETWEEN_LOOKS, look};
use super::records::Records;
use super::symbol::Symbol;
use super::{GoOn, Tuning, Words};
use crate::memory::Table;
use crate::{Error, Result};

/// Words of fewer symbols are not divided.
const LEAST_SHARED: usize = 1 << 18;
/// With fewer symbols, pairs of bytes are counted in a hash table.
const LEAST_DENSE: usize = 1 << 13;
/// More threads would wait for memory, and each has a row for every token ([`super::births`]).
const MOST_SHARES: usize = 64;
/// Neighbours in the table go to one share in groups of so many words.
const GROUP: usize = 64;
/// Pairs of bytes.
const BYTE_PAIRS: usize = 1 << 16;

/// How often each pair of bytes stands in the text, and in how many windows of the words.
type ByteCounts = Vec<(u64, u32)>;

/// The words as merged so far.
#[derive(Debug)]
pub(super) struct Layout<S> {
    /// At least one share. Those of higher index have higher postings.
    pub(super) shares: Vec<Records<S>>,
    pub(super) linked: Linked<S>,
    /// Of each share, the last one's with those of `linked`, until anything is merged; or nothing.
    byte_counts: Vec<ByteCounts>,
    /// How many symbols there were at first.
    pub(super) symbols: u64,
    /// How many windows of two symbols there were in the text.
    pub(super) windows: u64,
}

/// What a share of the words needs.
#[derive(Debug, Default)]
struct Needs {
    symbols: u64,
    windows: u64,
    records: usize,
    room: usize,
    linked: usize,
}

impl<S: Symbol> Layout<S> {
    /// Lays out words; those longer than `longest` are linked. There are `threads` shares, if that is no more than
    /// [`MOST_SHARES`], or one where there are too few symbols, or where the words are in a file. Without `longest`, words keep their order.
    pub(super) fn new(
        mut words: Words,
        longest: usize,
        threads: usize,
        tuning: Tuning,
        go_on: GoOn<'_>,
    ) -> Result<Self> {
        words.freeze();
        let is_dense = words.reach(tuning.dense.unwrap_or(LEAST_DENSE));
        let mut laid = match &mut words {
            Words::Run(words) => {
                let mut each = |go_on: GoOn<'_>, f: AddWord<'_>| {
                    words.each(go_on, |word, count, _| f(word, count))
                };
                vec![lay_out::<S>(&mut each, longest, is_dense, go_on)?]
            }
            Words::Counted(counts) => {
                let is_shared = longest > 0 && counts.reach(tuning.shared.unwrap_or(LEAST_SHARED));
                let shares = if is_shared {
                    threads.clamp(1, MOST_SHARES)
                } else {
                    1
                };
                let (counts, indices) = (&*counts, (0..shares).collect::<Vec<_>>());
                parallel::each(&indices, go_on, |&index, go_on| {
                    let mut each = |go_on: GoOn<'_>, f: AddWord<'_>| {
                        for (number, (word, count)) in counts.iter_unordered().enumerate() {
                            if number / GROUP % shares == index {
                                f(word, count)?;
                            }
                            look(number, go_on)?;
                        }
                        Ok(())
                    };
                    lay_out::<S>(&mut each, longest, is_dense, go_on)
                })?
            }
        };
        let (mut symbols, mut windows, mut long, mut first) = (0, 0_u64, 0, 0);
        for (needs, records, _) in &mut laid {
            symbols += needs.symbols;
            long += needs.linked;
            // So no count of a pair can overflow.
            windows = windows
                .checked_add(needs.windows)
                .ok_or(Error::CountOverflow)?;
            first = records.begin_at(first)?;
        }
        let mut linked = Linked::new();
        if long > 0 {
            let mut none = Vec::new();
            let byte_counts = laid.last_mut().map_or(&mut none, |(_, _, counts)| counts);
            let go_on = RefCell::new(go_on);
            let ask = || (go_on.borrow_mut())();
            let link = |word: &[u8], weight| {
                if word.len() <= longest.max(1) {
                    return Ok(());
                }
                for from in (0..word.len()).step_by(BETWEEN_LOOKS) {
                    // With the first symbol of the next part.
                    let end = word.len().min(from + BETWEEN_LOOKS + 1);
                    count_pairs(byte_counts, &word[from..end], weight);
                    if from > 0 && ask().is_break() {
                        return Err(Error::Cancelled);
                    }
                }
                linked.push(word, weight, &mut || ask())
            };
            if longest == 0 {
                words.each_first_seen(&mut || ask(), link)?;
            } else {
                words.each(&mut || ask(), link)?;
            }
        }
        let byte_counts = laid.iter_mut().map(|(_, _, counts)| std::mem::take(counts));
        let byte_counts = if is_dense {
            byte_counts.collect()
        } else {
            Vec::new()
        };
        Ok(Self {
            shares: laid.into_iter().map(|(_, records, _)| records).collect(),
            linked,
            byte_counts,
            symbols,
            windows,
        })
    }

    /// How many bytes of memory are in use.
    pub(super) fn memory(&self) -> usize {
        let shares = self.shares.iter().map(Records::memory);
        shares.sum::<usize>() + self.linked.memory()
    }

    /// Calls `f` with every window of two symbols: the pair, its weight and posting.
    #[inline(always)]
    pub(super) fn each_pair(
        &self,
        go_on: GoOn<'_>,
        mut f: impl FnMut(Key, u64, u32),
    ) -> Result<()> {
        let mut each = |left: S, right: S, weight, posting| {
            f(Key::new(left.id(), right.id()), weight, posting);
        };
        for records in &self.shares {
            records.each_pair(go_on, &mut each)?;
        }
        self.linked.each_pair(go_on, &mut each)
    }

    /// Takes what is known of the pairs of bytes from laying out, share by share.
    pub(super) fn take_byte_counts(&mut self) -> Vec<ByteCounts> {
        std::mem::take(&mut self.byte_counts)
    }

    /// Writes the postings of all pairs of bytes that have a place: `starts` says where they go, or [`NOWHERE`].
    pub(super) fn write_postings(
        &self,
        counts: &[ByteCounts],
        starts: &[u32],
        postings: &mut Table<u32>,
        go_on: GoOn<'_>,
    ) -> Result<()> {
        let postings = postings.as_atomic();
        // The last share, which may take longest, on this thread: it is the one that hears the caller.
        let indices: Vec<usize> = (0..self.shares.len()).rev().collect();
        let written = parallel::each(&indices, go_on, |&index, go_on| {
            // Where the next posting goes, and by how much that moves.
            let steps = starts
                .iter()
                .map(|&start| (start, u32::from(start != NOWHERE)));
            let mut cursors: Vec<(u32, u32)> = steps.collect();
            for before in &counts[..index] {
                for ((cursor, step), (_, count)) in cursors.iter_mut().zip(before) {
                    *cursor += *step * count;
                }
            }
            let write = &mut |left: S, right: S, _, posting| {
                let (cursor, step) = &mut cursors[byte_pair(left.id(), right.id())];
                if let Some(place) = postings.get(*cursor as usize) {
                    place.store(posting, std::sync::atomic::Ordering::Relaxed);
                }
                *cursor += *step;
            };
            self.shares[index].each_pair(go_on, &mut *write)?;
            if index + 1 == self.shares.len() {
                self.linked.each_pair(go_on, write)?;
            }
            Ok(())
        });
        written.map(drop)
    }
}

/// The index of a pair of bytes.
#[inline(always)]
pub(super) fn byte_pair(left: u32, right: u32) -> usize {
    (left << 8 | right) as usize & (BYTE_PAIRS - 1)
}

#[inline(always)]
fn count_pairs(counts: &mut ByteCounts, word: &[u8], weight: u64) {
    let Some(counts) = counts.first_chunk_mut::<BYTE_PAIRS>() else {
        return;
    };
    for pair in word.windows(2) {
        let (sum, count) = &mut counts[usize::from(pair[0]) << 8 | usize::from(pair[1])];
        *sum += weight;
        *count += 1;
    }
}

/// Takes a word and its count.
type AddWord<'f> = &'f mut dyn FnMut(&[u8], u64) -> Result<()>;

/// Lays out the words that `each` gives, in the same order each time.
fn lay_out<S: Symbol>(
    each: &mut dyn FnMut(GoOn<'_>, AddWord<'_>) -> Result<()>,
    longest: usize,
    is_dense: bool,
    go_on: GoOn<'_>,
) -> Result<(Needs, Records<S>, ByteCounts)> {
    let mut needs = Needs::default();
    each(go_on, &mut |word, weight| {
        if word.len() < 2 {
            return Ok(());
        }
        let windows = weight.checked_mul(word.len() as u64 - 1);
        let windows = windows.and_then(|windows| needs.windows.checked_add(windows));
        needs.windows = windows.ok_or(Error::CountOverflow)?;
        needs.symbols += word.len() as u64;
        if word.len() <= longest {
            needs.records += 1;
            needs.room += Records::<S>::taken(word);
        } else {
            needs.linked += 1;
        }
        Ok(())
    })?;
    let mut records = Records::with_room(needs.records, needs.room)?;
    let mut byte_counts = vec![(0, 0); if is_dense { BYTE_PAIRS } else { 0 }];
    each(go_on, &mut |word, weight| {
        if (2..=longest).contains(&word.len()) {
            records.push(word, weight);
            count_pairs(&mut byte_counts, word, weight);
        }
        Ok(())
    })?;
    Ok((needs, records, byte_counts))
}
