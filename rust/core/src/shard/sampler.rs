//! Which window of which shard is training sample number `g`?
//!
//! The answer depends on the plan (dataset, seed, sequence length, order) and on `g`, on nothing else. So every number of ranks
//! and workers reads the same global batches, resuming takes one integer, and any batch can be looked at by its number.
//! Nothing is materialised: 8 bytes per shard, and the tables of small permutations.
//!
//! **Windows.** A window is `sequence_length` inputs and as many targets, which are the inputs shifted by one, so it
//! needs `sequence_length + 1` tokens. Windows lie within a shard and begin `stride` apart:
//! `(tokens - 1 - sequence_length) / stride + 1` of them. What is left at a shard's end is below one window; [`Partial::Drop`] leaves it out,
//! [`Partial::Pad`] makes a last window of it whose missing targets are -1, so that every token but a shard's first is
//! a target exactly once.
//!
//! **Epochs.** Sample `g` is number `g mod N` of epoch `g / N`. In the random orders the windows of epoch 1, 2, … begin
//! at another phase below the stride, so that their edges move; a window that would run over the end is moved back to it. So
//! N stays the same, and in those epochs fewer than `stride` tokens per shard are left out at the beginning while as many may be seen twice at the end.
//!
//! **Overlap.** With a stride below the sequence length neighbours share tokens. For measuring perplexity `mask_overlap` sets the
//! first `sequence_length - stride` targets of all but a shard's first window to -1: each token is scored once, with at least that much context.
//!
//! **Order.** `Global` is a random order of all windows. `Block` reads 256 neighbouring windows as a unit:
//! units come in random order, and 512 units that follow one another in it are shuffled together; on disks and object stores that
//! must seek this reads large pieces and is nearly as good (Marin found the losses equal). `Sequential` is the order of the text.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::format::hex;
use super::permutation::{Key, Permutation, TABLE_LIMIT};
use super::reader::{Id, ShardReader};
use crate::{Error, Result};

/// In which order windows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Random over the whole dataset.
    Global,
    /// Random, in units of neighbouring windows.
    Block {
        /// Windows per unit.
        io: u64,
        /// Units shuffled together.
        window: u64,
    },
    /// As the text stands.
    Sequential,
}

impl Order {
    /// [`Order::Block`] with the sizes that are known to work.
    pub const BLOCK: Self = Self::Block {
        io: 256,
        window: 512,
    };
}

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
    /// Tokens at the end of the last shard that no window may touch: they are kept for evaluating.
    pub reserve: u64,
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
        }
    }

    fn validate(&self) -> Result<()> {
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
            && ![io, window].iter().all(|size| (1..=1 << 20).contains(size))
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
        Ok(())
    }
}

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

/// A plan over a dataset; can be shared among threads.
#[derive(Debug)]
pub struct Sampler {
    reader: Arc<ShardReader>,
    options: SamplerOptions,
    /// Tokens of each shard that windows may cover.
    tokens: Vec<u64>,
    /// Windows before each shard, and at the end all of them.
    before: Vec<u64>,
    /// Permutations used last. They follow from their keys; this only saves making them again.
    recent: Mutex<Vec<(Key, Arc<Permutation>)>>,
}

/// Levels of [`Key`]: units (or single windows), then one for each group of units, and at the far end what is drawn once per epoch.
const LEVEL_ORDER: u64 = 0;
const LEVEL_GROUP: u64 = 1;
const LEVEL_PHASE: u64 = u64::MAX;
const LEVEL_ROTATION: u64 = u64::MAX - 1;

impl Sampler {
    /// Plans the windows of a dataset.
    pub fn new(reader: Arc<ShardReader>, options: SamplerOptions) -> Result<Self> {
        options.validate()?;
        let mut tokens: Vec<u64> = (0..reader.shards())
            .map(|shard| reader.shard_tokens(shard))
            .collect();
        if let Some(last) = tokens.last_mut() {
            *last = last.saturating_sub(options.reserve);
        }
        let mut before = vec![0];
        let mut total = 0;
        for &tokens in &tokens {
            total += windows(tokens, &options);
            before.push(total);
        }
        if total == 0 {
            let longest = tokens.into_iter().max();
            return Err(Error::TooFewTokens {
                path: PathBuf::from(reader.path()),
                sequence_length: options.sequence_length,
                needed: match options.partial {
                    Partial::Drop => options.sequence_length + 1,
                    Partial::Pad => 2,
                },
                longest: longest.unwrap_or(0),
            });
        }
        Ok(Self {
            reader,
            options,
            tokens,
            before,
            recent: Mutex::new(Vec::new()),
        })
    }

    /// The dataset.
    pub fn reader(&self) -> &Arc<ShardReader> {
        &self.reader
    }

    /// The plan.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Samples per epoch.
    pub fn len(&self) -> u64 {
        self.before.last().copied().unwrap_or(0)
    }

    /// Never: there is at least one window.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// sha256 over everything that decides which tokens a sample number stands for.
    pub fn fingerprint(&self) -> [u8; 32] {
        let SamplerOptions {
            sequence_length,
            stride,
            seed,
            order,
            mask_overlap,
            partial,
            reserve,
        } = self.options;
        let order = match order {
            Order::Global => "global".to_owned(),
            Order::Block { io, window } => format!("block {io} {window}"),
            Order::Sequential => "sequential".to_owned(),
        };
        let partial = match partial {
            Partial::Drop => "drop",
            Partial::Pad => "pad",
        };
        let plan = format!(
            "gptbpe sampler 1\ndataset {}\nsequence_length {sequence_length}\nstride {stride}\nseed {seed}\n\
             order {order}\nmask_overlap {mask_overlap}\npartial {partial}\nreserve {reserve}\n",
            hex(&self.reader.digest())
        );
        Sha256::digest(plan).into()
    }

    /// Refuses a state that was saved under another plan.
    pub fn expect_fingerprint(&self, expected: &[u8; 32]) -> Result<()> {
        let found = self.fingerprint();
        if found == *expected {
            return Ok(());
        }
        Err(Error::FingerprintMismatch {
            path: self.reader.path().to_path_buf(),
            what: "sampler plan",
            expected: hex(expected),
            found: hex(&found),
        })
    }

    /// Where sample `number` lies.
    pub fn window(&self, number: u64) -> Window {
        let (epoch, at) = (number / self.len(), number % self.len());
        let index = match self.options.order {
            Order::Sequential => at,
            Order::Global => self
                .permutation(self.len(), self.key(epoch, LEVEL_ORDER))
                .get(at),
            Order::Block { io, window } => self.block_index(epoch, at, io, window),
        };
        self.window_at(epoch, index)
    }

    /// Fills rows of inputs and targets with samples `first`, `first + 1`, …; both hold `sequence_length` ids per row.
    pub fn fill<T: Id>(&self, first: u64, inputs: &mut [T], targets: &mut [T]) -> Result<()> {
        let length = self.options.sequence_length as usize;
        if inputs.len() != targets.len() || !inputs.len().is_multiple_of(length) {
            return Err(Error::ShardArgument {
                name: "out",
                found: format!("{} inputs and {} targets", inputs.len(), targets.len()),
                expected: format!("equal multiples of {length}"),
            });
        }
        let mut scratch = Vec::new();
        let mut row = vec![T::default(); length + 1];
        let rows = inputs
            .chunks_exact_mut(length)
            .zip(targets.chunks_exact_mut(length));
        for (number, (inputs, targets)) in (0..).zip(rows) {
            let window = self.window(first.saturating_add(number));
            let there = window.tokens as usize;
            // One pass over the shard, then two copies within the first-level cache.
            self.reader
                .copy(window.shard, window.start, &mut row[..there], &mut scratch)?;
            inputs[..there - 1].copy_from_slice(&row[..there - 1]);
            targets[..there - 1].copy_from_slice(&row[1..there]);
            inputs[there - 1..].fill(T::default());
            targets[there - 1..].fill(T::IGNORED);
            targets[..window.masked as usize].fill(T::IGNORED);
        }
        Ok(())
    }

    fn key(&self, epoch: u64, level: u64) -> Key {
        Key {
            seed: self.options.seed,
            source: 0,
            epoch,
            level,
        }
    }

    /// The window that stands at a place of the text, whatever the order.
    fn window_at(&self, epoch: u64, index: u64) -> Window {
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
            (Partial::Drop, Some(last)) => (self.phase(epoch) + number * stride).min(last),
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

    #[cfg(test)]
    pub(crate) fn window_at_for_test(&self, epoch: u64, index: u64) -> (usize, u64) {
        let window = self.window_at(epoch, index);
        (window.shard, window.start)
    }

    fn phase(&self, epoch: u64) -> u64 {
        if epoch == 0 || self.options.order == Order::Sequential {
            return 0;
        }
        self.key(epoch, LEVEL_PHASE)
            .stream()
            .below(self.options.stride)
    }

    /// The order in units of `io` windows. The text is rotated by less than a unit first, so that the short
    /// unit at the end is not the same windows in every epoch.
    fn block_index(&self, epoch: u64, at: u64, io: u64, window: u64) -> u64 {
        let n = self.len();
        let rotation = self.key(epoch, LEVEL_ROTATION).stream().below(io);
        let whole_units = n / io;
        let group_size = io * window;
        let (group, within) = (at / group_size, at % group_size);
        let size = group_size.min(n - group * group_size);
        let within = self
            .permutation(size, self.key(epoch, LEVEL_GROUP + group))
            .get(within);
        let place = group * window + within / io;
        let unit = if place < whole_units {
            self.permutation(whole_units, self.key(epoch, LEVEL_ORDER))
                .get(place)
        } else {
            whole_units // the short one stays at the end
        };
        (unit * io + within % io + rotation) % n
    }

    /// A permutation, from those used last if it is a table.
    fn permutation(&self, n: u64, key: Key) -> Arc<Permutation> {
        const MOST: usize = 4;
        if n > TABLE_LIMIT {
            return Arc::new(Permutation::new(n, &key)); // six numbers
        }
        let mut recent = self
            .recent
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(at) = recent
            .iter()
            .position(|(known, permutation)| *known == key && permutation.len() == n)
        {
            let found = recent.remove(at);
            let permutation = Arc::clone(&found.1);
            recent.push(found);
            return permutation;
        }
        let permutation = Arc::new(Permutation::new(n, &key));
        if recent.len() == MOST {
            recent.remove(0);
        }
        recent.push((key, Arc::clone(&permutation)));
        permutation
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
