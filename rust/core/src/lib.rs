//! Byte-level BPE training, exact encoding and token shards.
//!
//! This crate never prints, never reads the environment or the clock, never
//! spawns a pool it was not asked for, and never panics on input: everything
//! that can go wrong is an [`Error`].

pub mod error;
#[doc(hidden)]
pub mod oracle;
pub mod pretokenize;
pub mod train;

pub use error::{Error, Result};
