//! Windows of one length, side by side or overlapping: which tokens stand at place `index` of the text?
//!
//! 8 bytes per shard are kept, and nothing per window. The rules are in [`super::sampler`].

use super::sampler_options::{Partial, SamplerOptions};

/// Where a sample lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The shard.
    pub shard: usize,
    /// Its first input in the shard.
    pub start: u64,
    /// Tokens that are there from `start` on, at most `sequence_length + 1`.
    pub tokens: u64,
    /// Targets at the beginning that do not count.
    pub masked: u64,
}

/// The windows of a dataset.
#[derive(Debug)]
pub(crate) struct Windows {
    options: SamplerOptions,
    /// Tokens of each shard that windows may cover.
    tokens: Vec<u64>,
    /// Windows before each shard, and at the end all of them.
    before: Vec<u64>,
}

impl Windows {
    pub(crate) fn new(options: SamplerOptions, tokens: Vec<u64>) -> Self {
        let mut before = vec![0];
        let mut total = 0;
        for &tokens in &tokens {
            total += windows(tokens, &options);
            before.push(total);
        }
        Self {
            options,
            tokens,
            before,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        *self.before.last().expect("the sums begin with 0")
    }

    /// The window at a place of the text, moved by the phase of its epoch.
    pub(crate) fn at(&self, index: u64, phase: u64) -> Window {
        let SamplerOptions {
            sequence_length,
            stride,
            mask_overlap,
            ..
        } = self.options;
        let shard = self.before.partition_point(|&before| before <= index) - 1;
        let number = index - self.before[shard];
        let tokens = self.tokens[shard];
        let start = match (
            self.options.partial,
            tokens.checked_sub(sequence_length + 1),
        ) {
            (Partial::Drop, Some(last)) => (phase + number * stride).min(last),
            _ => number * stride,
        };
        Window {
            shard,
            start,
            tokens: (tokens - start).min(sequence_length + 1),
            masked: if mask_overlap && number > 0 {
                (sequence_length - stride).min(tokens - start - 1)
            } else {
                0
            },
        }
    }
}

/// Windows in a shard of so many tokens.
fn windows(tokens: u64, options: &SamplerOptions) -> u64 {
    match (
        options.partial,
        tokens.checked_sub(options.sequence_length + 1),
    ) {
        (Partial::Drop, None) => 0,
        (Partial::Drop, Some(room)) => room / options.stride + 1,
        (Partial::Pad, Some(room)) => room.div_ceil(options.stride) + 1,
        (Partial::Pad, None) => u64::from(tokens >= 2),
    }
}
