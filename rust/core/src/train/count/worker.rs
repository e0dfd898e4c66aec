//! One thread's part in counting.

use super::GoOn;
use super::block::{Counting, Room};
use super::table::WordTable;
use crate::Result;
use crate::scan::Pretokenizer;
use crate::simd::Kernel;

/// New words of a batch have places of so many bits, below the number of the batch.
pub(super) const PLACE_BITS: u32 = 40;

/// A thread's table with its working memory.
#[derive(Debug)]
pub(super) struct Worker {
    room: Room,
    pub(super) table: WordTable,
}

impl Worker {
    pub(super) fn new(kernel: Kernel) -> Self {
        Self {
            room: Room::new(),
            table: WordTable::new(kernel),
        }
    }

    /// Counts the texts of batch `number`. `go_on` may stop it.
    pub(super) fn count<'t>(
        &mut self,
        pretokenizer: &Pretokenizer,
        number: u64,
        texts: impl Iterator<Item = &'t [u8]>,
        weight: u64,
        go_on: GoOn<'_>,
    ) -> Result<()> {
        self.table.begin_at(number << PLACE_BITS);
        let (room, table) = (&mut self.room, &mut self.table);
        let mut counting = Counting::new(pretokenizer, room, table, weight, go_on)?;
        for text in texts {
            counting.push(text)?;
        }
        counting.flush()
    }
}
