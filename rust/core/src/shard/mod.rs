//! Token shards: tokenized text on disk, and the order in which training reads it.
//!
//! `text -> ids ->` [`ShardWriter`] `-> shard-*.bin, shard-*.gbx, manifest.json ->` [`ShardReader`] `->` [`Sampler`] `-> batches`
//!
//! The format is described in `FORMAT.md`, the rules of publishing in [`crate::publish`], the order in [`permutation`] and [`sampler`].

mod adopt;
pub mod ahead;
mod block;
mod disk;
mod fault;
pub mod fill;
mod folder;
pub mod format;
pub mod header;
mod ids;
pub mod manifest;
mod map;
pub mod mixture;
mod names;
mod open;
mod open_shard;
mod options;
pub mod order;
mod packed;
mod packing;
pub mod permutation;
mod publication;
pub mod reader;
mod recent;
mod replace;
mod resume;
pub mod rows;
pub mod sampler;
mod sampler_options;
mod schedule;
pub mod sidecar;
mod source;
mod sums;
mod verify;
mod widen;
pub mod windows;
mod writer;

#[cfg(test)]
mod tests;

pub use manifest::Manifest;
pub use options::{DEFAULT_SHARD_TOKENS, WriterOptions};
pub use reader::{Io, ReaderOptions, ShardReader, Verify};
pub use sampler::{Order, Partial, Sampler, SamplerOptions};
pub use writer::ShardWriter;
