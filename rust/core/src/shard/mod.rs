//! Token shards: tokenized text on disk, and the order in which training reads it.
//!
//! `text -> ids ->` [`ShardWriter`] `-> shard-*.bin, shard-*.gbx, manifest.json ->` [`ShardReader`] `->` [`Sampler`] `-> batches`
//!
//! The format is in [`format`](mod@format), the rules of publishing in [`crate::publish`], the order in [`permutation`] and [`sampler`].

pub mod ahead;
pub mod format;
mod gather;
pub mod manifest;
pub mod mixture;
pub mod order;
mod packed;
mod packing;
pub mod permutation;
pub mod reader;
mod recent;
pub mod rows;
pub mod sampler;
mod schedule;
mod verify;
mod widen;
pub mod windows;
mod writer;

#[cfg(test)]
mod tests;

pub use manifest::Manifest;
pub use reader::{Io, ReaderOptions, ShardReader, Verify};
pub use sampler::{Order, Partial, Sampler, SamplerOptions};
pub use writer::{DEFAULT_SHARD_TOKENS, ShardWriter, WriterOptions};
