//! Files of counts: pre-tokens and how often each occurs, sorted, so that files can be added up.
//!
//! A machine counts its share of the text into one file (a *run*, `.pcnt`), and a vocabulary is trained from any
//! number of them. The counts of one word in several files are summed while all files are read once, in order
//! ([`merge`]), so memory does not grow with the number of words. Counting under a memory limit uses the same
//! files: what does not fit is written to a run without a name, and all runs are summed in the end ([`Spill`]).
//!
//! # Format, version 1
//!
//! All numbers are little-endian. A *varint* has 7 bits per byte, lowest first; the top bit says that another byte
//! follows; it is as short as possible. Checksums are xxh3-64, as in token shards.
//!
//! | byte | type | field of the header |
//! |---|---|---|
//! | 0 | 8 bytes | magic `\x89PCN\r\n\x1a\n` (a transfer in text mode damages it visibly) |
//! | 8 | u32 | version: 1 |
//! | 12 | u32 | H, the bytes of the header, checksum included; at most 2²⁴ |
//! | 16 | 32 bytes | fingerprint of the pattern, equal for patterns that are known to split every text alike; made by the version that wrote the file, and made anew from the pattern by the one that reads it |
//! | 48 | u32 | number of regular expressions of the pattern (0: text is not split) |
//! | 52 | | for each: u32 length, UTF-8 |
//! | … | u32 | number of special tokens, which ended documents |
//! | … | | for each: u32 length, UTF-8 |
//! | H − 8 | u64 | checksum of bytes 0 to H − 9 |
//!
//! Every version keeps the first 16 bytes and the place of the checksum.
//!
//! Blocks follow, one after another. Each can be read by itself:
//!
//! | byte of the block | type | field |
//! |---|---|---|
//! | 0 | u32 | P, the bytes of its words, 5 or more; above 65,536 only where the block has a single word |
//! | 4 | u32 | number of its words, 1 or more |
//! | 8 | u64 | checksum, seeded with the block's offset in the file, of its bytes 0 to 7 and the P bytes |
//! | 16 | P bytes | its words |
//!
//! A word is at least one byte. Words ascend strictly by their bytes through the whole file. Each is written as
//!
//! | type | field |
//! |---|---|
//! | varint | how many bytes it shares with the word before it, as many as there are; 0 for the first of a block |
//! | varint | how many bytes follow |
//! | bytes | these |
//! | varint | its count, 1 or more |
//! | varint | its place: of two words the one with the smaller place occurs first in the text |
//!
//! The trailer ends the file:
//!
//! | byte of the trailer | type | field |
//! |---|---|---|
//! | 0 | u32, u32 | zero, where a block would have its size |
//! | 8 | u64 | bytes of text that were counted |
//! | 16 | u64 | documents |
//! | 24 | u64 | words in the file |
//! | 32 | u128 | sum of their counts |
//! | 48 | u64 | one more than the greatest place; 0 without words |
//! | 56 | u64 | for all blocks in turn: the checksum of the block's checksum, seeded with this number of the blocks before; it begins as 0 |
//! | 64 | u64 | bytes of the whole file |
//! | 72 | u64 | checksum of the header's checksum and the trailer's bytes 0 to 71 |
//!
//! The bytes of a file follow from what was counted: every number has one spelling, and blocks end where the next
//! word would exceed 65,536 bytes. Opening a file checks header, trailer and size, so a file that was cut is found
//! before anything is read; everything else is checked block by block. No length in a file is believed
//! before it is compared with the size of the file.

mod bounded;
mod format;
mod load;
mod merged;
mod reader;
mod spill;
mod temporary;
#[cfg(test)]
mod tests;
mod words;
mod writer;

pub use bounded::BoundedCounts;
pub use format::{RunHeader, RunTotals};
pub use load::load;
pub use merged::{MOST_OPEN, Merged, merge};
pub use reader::{Counted, RunReader};
pub use spill::Spill;
pub use words::RunWords;
pub use writer::RunWriter;
