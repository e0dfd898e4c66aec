//! The plan of a sampler: what is asked for, and whether that can be. The rules are in [`super::sampler`].

use super::order::Order;
use crate::{Error, Result};

/// What happens to the tokens after a shard's last whole window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// They are left out.
    Drop,
    /// They become a window filled up with input 0 and target -1.
    Pad,
}

/// The plan, besides the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplerOptions {
    /// Inputs per sample.
    pub sequence_length: u64,
    /// Tokens from the beginning of one window to the next; `sequence_length` unless evaluating.
    pub stride: u64,
    /// Chooses the order.
    pub seed: u64,
    /// The kind of order.
    pub order: Order,
    /// Whether targets that the window before has scored are -1.
    pub mask_overlap: bool,
    /// The end of a shard.
    pub partial: Partial,
    /// Tokens at the end of the shards that no window may touch: they are kept for evaluating.
    pub reserve: u64,
    /// Whether rows are packed documents instead of windows.
    pub pack: bool,
    /// Which dataset of a mixture this is; each has orders of its own.
    pub source: u64,
}

impl SamplerOptions {
    /// Windows side by side in random order.
    pub fn new(sequence_length: u64) -> Self {
        Self {
            sequence_length,
            stride: sequence_length,
            seed: 0,
            order: Order::Global,
            mask_overlap: false,
            partial: Partial::Drop,
            reserve: 0,
            pack: false,
            source: 0,
        }
    }

    /// Whether there may be targets that do not count.
    pub(super) fn ignores_targets(&self) -> bool {
        self.mask_overlap || self.pack || self.partial == Partial::Pad
    }

    pub(super) fn validate(&self) -> Result<()> {
        let wrong = |name, found: String, expected: &str| {
            Err(Error::ShardArgument {
                name,
                found,
                expected: expected.into(),
            })
        };
        let length = self.sequence_length;
        if !(1..1 << 31).contains(&length) {
            return wrong("sequence_length", length.to_string(), "1 to 2147483647");
        }
        if !(1..1 << 31).contains(&self.stride) {
            return wrong("stride", self.stride.to_string(), "1 to 2147483647");
        }
        if let Order::Block { io, window } = self.order
            && ![io, window]
                .iter()
                .all(|size| (1..=Order::MOST).contains(size))
        {
            return wrong(
                "order",
                format!("{:?}", self.order),
                "sizes from 1 to 1048576",
            );
        }
        let sequential = self.order == Order::Sequential;
        if self.mask_overlap && (!sequential || self.stride > length) {
            return wrong(
                "mask_overlap",
                "true".into(),
                "used with order \"sequential\" and a stride of at most the sequence length",
            );
        }
        if self.partial == Partial::Pad && (!sequential || self.stride > length) {
            return wrong(
                "partial",
                "pad".into(),
                "\"drop\" unless the order is \"sequential\" and the stride at most the sequence length",
            );
        }
        if self.pack && (self.stride != length || self.mask_overlap || self.partial == Partial::Pad)
        {
            return wrong(
                "pack",
                "true".into(),
                "used without stride, mask_overlap and partial: rows of whole documents do not overlap",
            );
        }
        Ok(())
    }
}
