//! The check of one block of tokens: its checksum, and that every id is in the vocabulary.

use std::path::Path;

use super::format::{BLOCK_BYTES, HEADER_BYTES, corrupt};
use super::header::Header;
use super::sums::{BlockSum, Sums};
use crate::Result;

/// Checks block `number` of a shard against the checksum in its sidecar and the vocabulary in its header.
pub(super) fn check_block(
    block: &[u8],
    number: usize,
    sum: u64,
    header: &Header,
    path: &Path,
) -> Result<()> {
    let mut sums = Sums::new(header.token_type);
    sums.update(block);
    check_sum(sums.end_block(), number, sum, header, path)
}

/// Checks what was found in block `number`.
pub(super) fn check_sum(
    found: BlockSum,
    number: usize,
    sum: u64,
    header: &Header,
    path: &Path,
) -> Result<()> {
    let offset = (HEADER_BYTES + number * BLOCK_BYTES) as u64;
    if found.sum != sum {
        let found = found.sum;
        let what = format!("block {number} has checksum {found:016x}, written was {sum:016x}");
        return Err(corrupt(path, offset, what));
    }
    if found.greatest >= header.vocab_size {
        let what = format!(
            "block {number} has a token outside the vocabulary of {}",
            header.vocab_size
        );
        return Err(corrupt(path, offset, what));
    }
    Ok(())
}

/// The numbers of the blocks that bytes `begin..end` touch.
pub(super) fn blocks(begin: u64, end: u64) -> std::ops::Range<usize> {
    let size = BLOCK_BYTES as u64;
    if begin == end {
        return 0..0;
    }
    (begin / size) as usize..end.div_ceil(size) as usize
}

/// The bytes of a block, of `total` bytes of tokens.
pub(super) fn block_range(number: usize, total: u64) -> (u64, u64) {
    let begin = (number * BLOCK_BYTES) as u64;
    (begin, total.min(begin + BLOCK_BYTES as u64))
}
