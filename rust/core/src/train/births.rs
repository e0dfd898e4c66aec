//! The windows that come into being in one merge.
//!
//! While (left, right) is merged into a new symbol, only pairs with that symbol are born. The
//! weight gathered for (x, new) is also what (x, left) loses, that of (new, y) what (right, y)
//! loses, and that of (new, new) what (right, left) loses. So nothing is hashed at a window: two rows,
//! found by the neighbour's id, gather its weight.

use super::symbol::Symbol;

/// What is known of one neighbour of the new symbol.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    pub(super) weight: u64,
    /// Windows.
    pub(super) count: u32,
    /// Where the next posting of the pair goes.
    pub(super) cursor: u32,
}

/// The neighbours on one side of the new symbol.
#[derive(Debug, Default)]
pub(super) struct Side<S> {
    /// By neighbour; the last one is for the ends of words, and never empty.
    pub(super) rows: Vec<Row>,
    /// The neighbours with windows, as they came.
    pub(super) neighbours: Vec<S>,
}

impl<S: Symbol> Side<S> {
    fn new(ids: usize) -> Self {
        // No symbol is as great as the sentinel: see `Symbol`.
        let ids = ids.min(S::SENTINEL.id() as usize);
        let mut rows = vec![Row::default(); ids + 1];
        rows[ids].count = 1;
        Self {
            rows,
            neighbours: Vec::new(),
        }
    }

    #[inline(always)]
    pub(super) fn row(&mut self, neighbour: S) -> &mut Row {
        let last = self.rows.len() - 1;
        &mut self.rows[(neighbour.id() as usize).min(last)]
    }

    #[inline(always)]
    fn add(&mut self, neighbour: S, weight: u64) {
        let row = self.row(neighbour);
        row.weight = row.weight.wrapping_add(weight); // only that of the sentinel wraps
        let is_new = row.count == 0;
        row.count = row.count.wrapping_add(1);
        if is_new {
            self.neighbours.push(neighbour);
        }
    }

    /// Adds the neighbours of `other`, whose windows come after those here, and notes with each how many come before.
    fn absorb(&mut self, other: &mut Self) {
        for &neighbour in &other.neighbours {
            let theirs = &mut other.rows[neighbour.id() as usize];
            let row = &mut self.rows[neighbour.id() as usize];
            if row.count == 0 {
                self.neighbours.push(neighbour);
            }
            theirs.cursor = row.count;
            row.weight += theirs.weight;
            row.count += theirs.count;
        }
    }

    /// Sets the cursors after those of `all`, which took this in, as far as it says that there is a place.
    fn follow(&mut self, all: &Self) {
        for &neighbour in &self.neighbours {
            let row = &mut self.rows[neighbour.id() as usize];
            row.cursor = match all.rows[neighbour.id() as usize].cursor {
                NOWHERE => NOWHERE,
                start => start + row.cursor,
            };
        }
    }

    fn clear(&mut self) {
        for &neighbour in &self.neighbours {
            self.rows[neighbour.id() as usize] = Row::default();
        }
        self.neighbours.clear();
        if let Some(last) = self.rows.last_mut() {
            last.count = 1;
        }
    }
}

/// All windows with the new symbol.
#[derive(Debug, Default)]
pub(super) struct Births<S> {
    pub(super) before: Side<S>,
    pub(super) after: Side<S>,
    /// Every place of the new symbol, with its neighbours or sentinels.
    pub(super) places: Vec<(u32, S, S)>,
    /// The weights of the last places, which no row has yet.
    weights: Vec<u64>,
    /// Where the new symbol stands twice in a row, and the weight of that.
    pub(super) twice: Vec<u32>,
    pub(super) twice_weight: u64,
}

impl<S: Symbol> Births<S> {
    /// For symbols below `ids`.
    pub(super) fn new(ids: usize) -> Self {
        Self {
            before: Side::new(ids),
            after: Side::new(ids),
            places: Vec::new(),
            weights: Vec::new(),
            twice: Vec::new(),
            twice_weight: 0,
        }
    }

    /// The new symbol stands between these two, or sentinels.
    #[inline(always)]
    pub(super) fn add(&mut self, posting: u32, weight: u64, before: S, after: S) {
        self.places.push((posting, before, after));
        self.weights.push(weight);
    }

    /// Adds the places that came since the last call to the rows of their neighbours.
    #[inline(always)]
    pub(super) fn gather(&mut self) {
        let from = self.places.len() - self.weights.len();
        let places = &self.places[from..];
        for (&(_, before, after), &weight) in places.iter().zip(&self.weights) {
            self.before.add(before, weight);
            self.after.add(after, weight);
        }
        self.weights.clear();
    }

    /// The new symbol stands twice in a row.
    #[inline]
    pub(super) fn add_twice(&mut self, posting: u32, weight: u64) {
        self.twice_weight += weight;
        self.twice.push(posting);
    }

    /// Adds what `other` gathered in records of higher postings. Its own places stay there.
    pub(super) fn absorb(&mut self, other: &mut Self) {
        self.before.absorb(&mut other.before);
        self.after.absorb(&mut other.after);
        self.twice.append(&mut other.twice);
        self.twice_weight += std::mem::take(&mut other.twice_weight);
    }

    /// The cursors of `all`, which took this in, are set; sets those here.
    pub(super) fn follow(&mut self, all: &Self) {
        self.before.follow(&all.before);
        self.after.follow(&all.after);
    }

    /// Writes every posting to where the cursors of its pairs point.
    pub(super) fn write(&mut self, postings: &mut [u32]) {
        for &(posting, before, after) in &self.places {
            for row in [self.before.row(before), self.after.row(after)] {
                // A pair that is not kept has no cursor; neither has a sentinel.
                if let Some(place) = postings.get_mut(row.cursor as usize) {
                    *place = posting;
                }
                row.cursor += u32::from(row.cursor != NOWHERE);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.before.clear();
        self.after.clear();
        self.places.clear();
        self.twice.clear();
        self.twice_weight = 0;
    }
}

/// The cursor of a pair that is not kept.
pub(super) const NOWHERE: u32 = 0;
