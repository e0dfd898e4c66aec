//! In which order the places of a plan are read, epoch by epoch.
//!
//! `Global` is a random order of all places. `Block` reads `io` neighbouring places as a unit: units come in random order,
//! and `window` units that follow one another in it are shuffled together; on disks and object stores that must seek this
//! reads large pieces and is nearly as good (Marin found the losses equal). `Sequential` is the order of the text.
//!
//! A unit begins and ends anywhere, and tokens are checked, and fetched from object stores, in blocks of 1 MiB. So a unit
//! costs one block more than it has bytes, and the end of a shard within it another. [`Order::blocks`] therefore makes
//! units of 64 MiB, which costs 1.6 %, whatever a row's length is; 32 of them are shuffled together, 2 GiB.
//!
//! An order is computed, not stored ([`Permutation`]); what is kept are the tables of small ones.

use std::sync::Arc;

use super::permutation::{Key, Permutation, TABLE_LIMIT};
use super::recent::Recent;

/// In which order places are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Random over the whole dataset.
    Global,
    /// Random, in units of neighbouring places.
    Block {
        /// Places per unit.
        io: u64,
        /// Units shuffled together.
        window: u64,
    },
    /// As the text stands.
    Sequential,
}

impl Order {
    /// [`Order::Block`] for rows of so many bytes: 32 units of 64 MiB.
    pub fn blocks(row_bytes: u64) -> Self {
        const UNIT_BYTES: u64 = 64 << 20;
        Self::Block {
            io: (UNIT_BYTES / row_bytes.max(1)).clamp(1, Self::MOST),
            window: 32,
        }
    }

    /// Places in a unit at most, and units that are shuffled together.
    pub(crate) const MOST: u64 = 1 << 20;

    /// The order in words, for the digest of a plan.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Global => "global".to_owned(),
            Self::Block { io, window } => format!("block {io} {window}"),
            Self::Sequential => "sequential".to_owned(),
        }
    }
}

/// Levels of [`Key`]: units (or single places), then one for each group of units, and at the far end what is drawn once per epoch.
const LEVEL_ORDER: u64 = 0;
const LEVEL_GROUP: u64 = 1;
const LEVEL_PHASE: u64 = u64::MAX;
const LEVEL_ROTATION: u64 = u64::MAX - 1;

/// The orders of all epochs of one source.
#[derive(Debug)]
pub(crate) struct Orders {
    order: Order,
    n: u64,
    seed: u64,
    source: u64,
    /// Tables of small permutations. They follow from their keys; this only saves making them again.
    tables: Recent<(Key, u64), Permutation>,
}

/// Permutations that one reader of rows used last.
#[derive(Debug, Default)]
pub struct Cursor {
    kept: [Option<(Key, Arc<Permutation>)>; 2],
}

impl Cursor {
    /// The permutation of a key, from `kept[at]` where it is that one.
    pub(crate) fn permutation(
        &mut self,
        at: usize,
        key: Key,
        n: u64,
        tables: &Recent<(Key, u64), Permutation>,
    ) -> &Permutation {
        let slot = &mut self.kept[at];
        if !matches!(slot, Some((known, permutation)) if *known == key && permutation.len() == n) {
            *slot = None;
        }
        &slot
            .get_or_insert_with(|| (key, permutation(tables, key, n)))
            .1
    }
}

/// A permutation, from the tables used last where it is one.
fn permutation(tables: &Recent<(Key, u64), Permutation>, key: Key, n: u64) -> Arc<Permutation> {
    if n > TABLE_LIMIT {
        return Arc::new(Permutation::new(n, &key)); // six numbers
    }
    let made = tables.get_or_make(&(key, n), |_| 1, || Ok(Permutation::new(n, &key)));
    made.unwrap_or_else(|_| Arc::new(Permutation::new(n, &key))) // making one cannot fail
}

/// Room for the tables of some epochs, groups or mixtures.
pub(crate) fn tables() -> Recent<(Key, u64), Permutation> {
    const MOST: usize = 4;
    Recent::new(MOST)
}

impl Orders {
    pub(crate) fn new(order: Order, n: u64, seed: u64, source: u64) -> Self {
        Self {
            order,
            n,
            seed,
            source,
            tables: tables(),
        }
    }

    /// Places per epoch.
    pub(crate) fn len(&self) -> u64 {
        self.n
    }

    /// (epoch, place) of a sample.
    pub(crate) fn place(&self, number: u64, cursor: &mut Cursor) -> (u64, u64) {
        let (epoch, at) = (number / self.n, number % self.n);
        let place = match self.order {
            Order::Sequential => at,
            Order::Global => self.permuted(0, cursor, epoch, LEVEL_ORDER, self.n, at),
            Order::Block { io, window } => self.in_units(cursor, epoch, at, io, window),
        };
        (epoch, place)
    }

    /// A number below `stride` by which the places of an epoch are moved; 0 in the first, and in the text's own order.
    pub(crate) fn phase(&self, epoch: u64, stride: u64) -> u64 {
        if epoch == 0 || self.order == Order::Sequential {
            return 0;
        }
        self.key(epoch, LEVEL_PHASE).stream().below(stride)
    }

    /// The order in units of `io` places. The text is rotated by less than a unit first, so that the short
    /// unit at the end is not the same places in every epoch.
    fn in_units(&self, cursor: &mut Cursor, epoch: u64, at: u64, io: u64, window: u64) -> u64 {
        let n = self.n;
        let rotation = self.key(epoch, LEVEL_ROTATION).stream().below(io);
        let whole_units = n / io;
        let group_size = io * window;
        let (group, within) = (at / group_size, at % group_size);
        let size = group_size.min(n - group * group_size);
        let within = self.permuted(0, cursor, epoch, LEVEL_GROUP + group, size, within);
        let at = group * window + within / io;
        let unit = if at < whole_units {
            self.permuted(1, cursor, epoch, LEVEL_ORDER, whole_units, at)
        } else {
            whole_units // the short one stays at the end
        };
        (unit * io + within % io + rotation) % n
    }

    fn permuted(
        &self,
        slot: usize,
        cursor: &mut Cursor,
        epoch: u64,
        level: u64,
        n: u64,
        at: u64,
    ) -> u64 {
        let key = self.key(epoch, level);
        cursor.permutation(slot, key, n, &self.tables).get(at)
    }

    fn key(&self, epoch: u64, level: u64) -> Key {
        Key {
            seed: self.seed,
            source: self.source,
            epoch,
            level,
        }
    }
}
