//! Rows of packed documents, numbered through all shards.
//!
//! The documents of a shard are packed in groups of neighbours ([`super::packing`]). What is kept of a group is how many rows
//! stand before it; its rows are made again when one of them is wanted, in less than a millisecond, and a bounded number
//! of groups is remembered. So the memory is 8 bytes for each 16,384 documents or more, and any row can be looked at by its number.

use std::sync::Arc;

use super::packing::{Packer, Rows, group_size};
use super::reader::ShardReader;
use super::recent::Recent;
use crate::{Error, Result};

/// Bytes of document ends, and of rows, that are remembered.
const REMEMBERED: usize = 64 << 20;

/// Where documents end, for the shards asked for last.
#[derive(Debug)]
pub(crate) struct Documents {
    reader: Arc<ShardReader>,
    /// Tokens of each shard that rows may cover.
    tokens: Vec<u64>,
    ends: Recent<usize, Vec<u32>>,
}

impl Documents {
    pub(crate) fn new(reader: Arc<ShardReader>, tokens: Vec<u64>) -> Self {
        Self {
            reader,
            tokens,
            ends: Recent::new(REMEMBERED),
        }
    }

    /// Where each document of a shard ends, in tokens; a document that goes on behind what rows may cover ends there.
    pub(crate) fn ends(&self, shard: usize) -> Result<Arc<Vec<u32>>> {
        self.ends
            .get_or_make(&shard, |ends| size_of_val(&ends[..]), || self.read(shard))
    }

    fn read(&self, shard: usize) -> Result<Vec<u32>> {
        let Some(mut ends) = self.reader.documents(shard)? else {
            return Err(Error::ShardArgument {
                name: "data",
                found: format!("{}", self.reader.path().display()),
                expected: "shards that say where documents end, as gptbpe writes them".into(),
            });
        };
        let tokens = self.tokens[shard] as u32; // a shard has fewer than 2³¹
        let within = ends.partition_point(|&end| end <= tokens);
        let begun = ends[..within].last().copied().unwrap_or(0);
        ends.truncate(within);
        if begun < tokens {
            ends.push(tokens);
        }
        Ok(ends)
    }
}

/// The rows of a dataset.
#[derive(Debug)]
pub(crate) struct Packed {
    capacity: u64,
    /// Groups before each shard, and at the end all of them.
    groups: Vec<usize>,
    /// Rows before each group, and at the end all of them.
    before: Vec<u64>,
    rows: Recent<usize, Rows>,
}

/// One row: its shard, the rows of its group, and its number among them.
pub(crate) struct PackedRow {
    pub(crate) shard: usize,
    pub(crate) rows: Arc<Rows>,
    pub(crate) number: usize,
}

impl Packed {
    /// Packs all groups once, to count their rows.
    pub(crate) fn new(capacity: u64, documents: &Documents) -> Result<Self> {
        let (mut groups, mut before) = (vec![0], vec![0]);
        let mut packer = Packer::new(capacity);
        let mut total = 0;
        for shard in 0..documents.tokens.len() {
            let ends = documents.ends(shard)?;
            let mut begin = 0;
            for group in ends.chunks(group_size(capacity)) {
                total += packer.count(begin, group) as u64;
                before.push(total);
                begin = group[group.len() - 1];
            }
            groups.push(before.len() - 1);
        }
        Ok(Self {
            capacity,
            groups,
            before,
            rows: Recent::new(REMEMBERED),
        })
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> u64 {
        *self.before.last().expect("the sums begin with 0")
    }

    /// The row at a place of the text.
    pub(crate) fn at(&self, index: u64, documents: &Documents) -> Result<PackedRow> {
        let group = self.before.partition_point(|&before| before <= index) - 1;
        let shard = self.groups.partition_point(|&before| before <= group) - 1;
        let rows = self.rows.get_or_make(&group, Rows::weight, || {
            let ends = documents.ends(shard)?;
            let size = group_size(self.capacity);
            let first = (group - self.groups[shard]) * size;
            let begin = first.checked_sub(1).map_or(0, |before| ends[before]);
            let ends = &ends[first..ends.len().min(first + size)];
            Ok(Packer::new(self.capacity).pack(begin, ends))
        })?;
        Ok(PackedRow {
            shard,
            rows,
            number: (index - self.before[group]) as usize,
        })
    }
}
