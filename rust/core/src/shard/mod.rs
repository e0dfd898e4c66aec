//! Token shards: tokenized text on disk, and the order in which training reads it.
//!
//! `text -> ids ->` [`ShardWriter`] `-> shard-*.bin, shard-*.gbx, manifest.json ->` [`ShardReader`] `->` [`Sampler`] `-> batches`
//!
//! The format is described in `FORMAT.md`, the rules of publishing in [`crate::publish`], the order in [`permutation`] and [`sampler`].

mod block;
mod disk;
mod folder;
pub mod format;
pub mod header;
mod ids;
pub mod manifest;
mod names;
mod open;
mod open_shard;
mod options;
pub mod permutation;
mod publication;
pub mod reader;
mod replace;
mod resume;
pub mod sampler;
pub mod sidecar;
mod source;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use manifest::Manifest;
pub use options::{DEFAULT_SHARD_TOKENS, WriterOptions};
pub use reader::{ReaderOptions, ShardReader, Verify};
pub use sampler::{Order, Partial, Sampler, SamplerOptions};
pub use writer::ShardWriter;
