//! What a dataset is to be, in the words of whoever writes it.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use super::format::MAX_SHARD_TOKENS;
use crate::{Error, Result};

/// Tokens per shard unless said otherwise: 256 MiB of u16, 512 MiB of u32.
pub const DEFAULT_SHARD_TOKENS: u64 = 1 << 27;

/// What a dataset is to be.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// One more than the largest id allowed.
    pub vocab_size: u32,
    /// The tokenizer's fingerprint; zeros where there is none to state.
    pub fingerprint: [u8; 32],
    /// The tokenizer as `tokenizer.json`, to be stored beside the shards.
    pub tokenizer_json: Option<Vec<u8>>,
    /// A token to put in front of every document.
    pub bos: Option<u32>,
    /// A token to put after every document.
    pub eos: Option<u32>,
    /// A shard is closed before it would exceed this many tokens.
    pub shard_tokens: u64,
    /// How the documents came to be, in words; stored in the manifest, and part of what resuming compares.
    pub options: BTreeMap<String, String>,
    /// Keep what a killed run with the same options wrote.
    pub resume: bool,
    /// Which inputs these are, in the caller's words. Stored in the folder by [`ShardWriter::begin`](super::ShardWriter::begin); what a run with the
    /// same options and the same words left is kept, as with `resume`.
    pub journal: Option<Vec<u8>>,
    /// Replace a dataset that is already in the folder. It can be read until the new one is whole.
    pub force: bool,
}

impl WriterOptions {
    /// Options for ids below `vocab_size`, with no separators.
    pub fn new(vocab_size: u32) -> Self {
        Self {
            vocab_size,
            fingerprint: [0; 32],
            tokenizer_json: None,
            bos: None,
            eos: None,
            shard_tokens: DEFAULT_SHARD_TOKENS,
            options: BTreeMap::new(),
            resume: false,
            journal: None,
            force: false,
        }
    }

    /// The key of the work: equal keys and equal documents give equal bytes.
    pub(super) fn work(&self) -> [u8; 16] {
        let words = format!(
            "{:?} {} {:?} {:?} {}",
            self.options, self.vocab_size, self.bos, self.eos, self.shard_tokens
        );
        let mut bytes = self.fingerprint.to_vec();
        bytes.extend(words.bytes());
        xxh3_128(&bytes).to_le_bytes()
    }

    pub(super) fn validate(&self) -> Result<()> {
        let wrong = |name, found: u64, expected: String| Error::ShardArgument {
            name,
            found: found.to_string(),
            expected,
        };
        if self.vocab_size == 0 || self.vocab_size > i32::MAX as u32 {
            let expected = format!("1 to {}", i32::MAX);
            return Err(wrong("vocab_size", self.vocab_size.into(), expected));
        }
        if self.shard_tokens == 0 || self.shard_tokens > MAX_SHARD_TOKENS {
            let expected = format!("1 to {MAX_SHARD_TOKENS}");
            return Err(wrong("shard_tokens", self.shard_tokens, expected));
        }
        for (name, id) in [("bos", self.bos), ("eos", self.eos)] {
            if let Some(id) = id.filter(|&id| id >= self.vocab_size) {
                return Err(wrong(
                    name,
                    id.into(),
                    format!("below the vocabulary's {}", self.vocab_size),
                ));
            }
        }
        Ok(())
    }
}
