//! Merging a pair at its postings.

use super::births::Births;
use super::linked::{LINKED, Linked};
use super::pairs::{Key, Pairs};
use super::records::Records;
use super::symbol::Symbol;
use crate::simd::{Job, Simd};

/// Postings are fetched so far ahead.
pub(super) const AHEAD: usize = 16;
/// After so many postings the weights are gathered.
const GATHERED: usize = 512;

/// Merges a pair at some of its postings.
pub(super) struct Walk<'m, S> {
    pub(super) postings: &'m [u32],
    /// The first ones of the pair that is probably merged next.
    pub(super) next: &'m [u32],
    pub(super) records: &'m mut Records<S>,
    pub(super) linked: &'m mut Linked<S>,
    pub(super) births: &'m mut Births<S>,
    pub(super) pair: (S, S),
    pub(super) id: S,
}

impl<S: Symbol> Job for Walk<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) {
        let Self {
            postings,
            next,
            records,
            linked,
            births,
            pair,
            id,
        } = self;
        let known = births.places.len();
        let mut open = records.open();
        let mut before = None;
        for (number, &posting) in postings.iter().enumerate() {
            if let Some(&ahead) = postings.get(number + AHEAD) {
                if ahead & LINKED == 0 {
                    open.fetch(kernel, ahead);
                } else {
                    linked.fetch(kernel, ahead & !LINKED);
                }
            }
            // A word is named as often as the pair was born in it.
            if before == Some(posting) {
                continue;
            }
            before = Some(posting);
            if posting & LINKED == 0 {
                open.merge(kernel, posting, pair, id, births);
            } else {
                linked.merge(posting & !LINKED, pair, id, births);
            }
            if number % GATHERED == GATHERED - 1 {
                births.gather();
            }
        }
        births.gather();
        for &posting in next.iter().filter(|&posting| posting & LINKED == 0) {
            open.fetch(kernel, posting);
        }
        records.shrink(births.places.len() - known);
    }
}

/// Fetches the pairs that lose windows.
pub(super) struct Fetch<'m, S> {
    pub(super) pairs: &'m Pairs,
    pub(super) births: &'m Births<S>,
    pub(super) left: u32,
    pub(super) right: u32,
}

impl<S: Symbol> Job for Fetch<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) {
        for neighbour in &self.births.before.neighbours {
            self.pairs
                .fetch(kernel, Key::new(neighbour.id(), self.left));
        }
        for neighbour in &self.births.after.neighbours {
            self.pairs
                .fetch(kernel, Key::new(self.right, neighbour.id()));
        }
    }
}
