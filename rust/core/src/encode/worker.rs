//! A thread's working memory: its table of pieces, and the arrays of a block.
//!
//! Every array has room for a block from the beginning, so that filling one asks for no memory.

use super::Scheme;
use super::table::PieceTable;
use crate::Result;
use crate::merge::{Buffers, merge_piece};
use crate::scan::{PIECES, Starts};
use crate::simd::{BLOCK, Key, Words};

/// Room for a block that is nearly full and the pieces of one more scan.
const ROOM: usize = 2 * PIECES + 4 * BLOCK;

/// A thread's working memory: the table and the arrays of a block.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) table: PieceTable,
    pub(super) starts: Starts,
    pub(super) keys: Box<[Key]>,
    pub(super) slots: Box<[u32]>,
    pub(super) values: Box<[u64]>,
    /// Places of values that are not inline.
    pub(super) others: Box<[u32]>,
    /// Places of keys that are not in their buckets.
    pub(super) absent: Vec<u32>,
    /// Those of them that may be in the next buckets, and those that are new.
    pub(super) beyond: Vec<u32>,
    pub(super) fresh: Vec<u32>,
    /// Places of values whose tokens lie in lists, in order.
    pub(super) apart: Places,
    pub(super) long: Vec<u32>,
    pub(super) merged: Words,
    pub(super) buffers: Buffers,
    pub(super) symbols: Vec<u32>,
    pub(super) tokens: Vec<u32>,
}

impl Worker {
    pub(super) fn new(table: PieceTable) -> Self {
        Self {
            table,
            starts: Starts::new(),
            keys: vec![0; ROOM].into(),
            slots: vec![0; ROOM].into(),
            values: vec![0; ROOM].into(),
            others: vec![0; ROOM + 8].into(),
            absent: Vec::new(),
            beyond: Vec::new(),
            fresh: Vec::new(),
            apart: Places::new(),
            long: Vec::new(),
            merged: Words::new(),
            buffers: Buffers::default(),
            symbols: Vec::new(),
            tokens: Vec::new(),
        }
    }
}

/// Places in a block, one bit each: they come as they are found, and are wanted in order.
#[derive(Debug)]
pub(super) struct Places([u64; ROOM / 64]);

impl Places {
    const fn new() -> Self {
        Self([0; ROOM / 64])
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, at: u32) {
        self.0[at as usize / 64 % (ROOM / 64)] |= 1 << (at % 64);
    }

    #[inline(always)]
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(word, &bits)| {
            let lowest = |bits: u64| (bits != 0).then_some(bits);
            let rest = std::iter::successors(lowest(bits), move |&bits| lowest(bits & (bits - 1)));
            rest.map(move |bits| word * 64 + bits.trailing_zeros() as usize)
        })
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}

/// Puts the tokens of a piece into `worker.tokens`.
pub(super) fn tokens_of(scheme: &Scheme<'_>, piece: &[u8], worker: &mut Worker) -> Result<()> {
    worker.tokens.clear();
    if let Some(id) = scheme.whole(piece) {
        worker.tokens.push(id);
        return Ok(());
    }
    worker.symbols.clear();
    let rules = scheme.vocab.rules();
    merge_piece(rules, piece, &mut worker.buffers, &mut worker.symbols)?;
    let ids = worker.symbols.iter().map(|&symbol| rules.id(symbol));
    worker.tokens.extend(ids);
    Ok(())
}
