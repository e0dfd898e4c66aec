//! Byte-level BPE training, exact encoding and token shards.
//!
//! This crate never prints, never reads the environment or the clock, never
//! spawns a pool it was not asked for, and never panics on input: everything
//! that can go wrong is an [`Error`].

#![deny(unsafe_code)] // but for the kernels, large tables, the map of a shard and a call in `publish`
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod alphabet;
pub mod characters;
pub mod decode;
pub mod documents;
pub mod dropout;
pub mod encode;
mod encoding;
pub mod error;
pub mod fingerprint;
pub mod format;
mod memory;
mod merge;
pub mod model;
pub mod normalize;
#[doc(hidden)]
pub mod oracle;
pub mod pattern;
mod pipeline;
mod places;
pub mod publish;
mod rewrite;
pub mod scan;
mod seed;
pub mod shard;
mod simd;
pub mod special;
pub mod template;
pub mod tokenizer;
pub mod train;
mod unicode;
pub mod vocab;

pub use decode::{CheckedIds, StreamDecoder};
pub use dropout::Dropout;
pub use encode::{EncodeOptions, Ids, Ragged, Text};
pub use error::{Error, Result};
pub use simd::Kernel;
pub use special::{SpecialNames, SpecialPolicy, SpecialSet, SpecialToken};
pub use template::Template;
pub use tokenizer::Tokenizer;
