//! Several datasets as one: sample `g` of a mixture is some sample of some source, computed, not looked up.
//!
//! The samples come in blocks. `schedule` says how many of each source stand in a block; a keyed permutation of the block
//! says in which order. So the share of every source is exact, each source is read in its own order without a gap or a
//! repetition, any sample can be looked at by its number, and a run resumes from one integer.
//!
//! The digest of the plan is a chain over its stages. A state that was saved before a stage was added is accepted as long as
//! that stage begins at or after the sample to go on with: until there both plans are the same.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::fill::{self, Plan};
use super::format::{TokenType, hex};
use super::order::{Cursor, tables};
use super::permutation::{Key, Permutation};
use super::reader::{Id, ShardReader};
use super::recent::Recent;
use super::sampler::{Sampler, SamplerOptions};
pub use super::schedule::{Exhausted, Stage};
use super::schedule::{Schedule, quotas};
use crate::{Error, Result};

/// One of the datasets that are mixed.
#[derive(Debug, Clone)]
pub struct Source {
    /// The dataset.
    pub reader: Arc<ShardReader>,
    /// Its plan; the number of the source is filled in.
    pub options: SamplerOptions,
    /// How often its samples may be read at most; a fraction allows a part of them.
    pub max_epochs: Option<f64>,
}

/// How datasets are mixed.
#[derive(Debug, Clone)]
pub struct MixtureOptions {
    /// Chooses the order within blocks.
    pub seed: u64,
    /// Samples per block.
    pub block: u64,
    /// Weights over time.
    pub stages: Vec<Stage>,
    /// What happens at the cap of a source.
    pub exhausted: Exhausted,
}

/// A plan over several datasets; can be shared among threads.
#[derive(Debug)]
pub struct Mixture {
    samplers: Vec<Sampler>,
    options: MixtureOptions,
    schedule: Schedule,
    /// The digest after each stage.
    digests: Vec<[u8; 32]>,
    tables: Recent<(Key, u64), Permutation>,
}

/// The `source` of the keys that order blocks: that of no dataset.
const MIXTURE: u64 = u64::MAX;
/// Which permutation of a [`Cursor`] orders blocks; a mixture has a cursor of its own.
const BLOCK_SLOT: usize = 0;

impl Mixture {
    /// Plans a mixture.
    pub fn new(sources: Vec<Source>, options: MixtureOptions) -> Result<Self> {
        if !(1..=1 << 32).contains(&options.block) {
            return Err(wrong("block", options.block.to_string(), "1 to 4294967296"));
        }
        if sources.is_empty() || options.stages.is_empty() {
            return Err(wrong(
                "sources",
                "empty".into(),
                "one dataset or more, and weights for them",
            ));
        }
        let mut samplers = Vec::with_capacity(sources.len());
        let mut caps = Vec::with_capacity(sources.len());
        for (number, source) in (0..).zip(sources) {
            let options = SamplerOptions {
                source: number,
                ..source.options
            };
            let sampler = Sampler::new(source.reader, options)?;
            caps.push(cap(sampler.len(), source.max_epochs)?);
            samplers.push(sampler);
        }
        for sampler in &samplers[1..] {
            alike(&samplers[0], sampler)?;
        }
        let schedule = Schedule::new(&options.stages, options.block, &caps, options.exhausted)?;
        let digests = digests(&samplers, &caps, &options);
        Ok(Self {
            samplers,
            options,
            schedule,
            digests,
            tables: tables(),
        })
    }

    /// The plans of the sources.
    pub fn samplers(&self) -> &[Sampler] {
        &self.samplers
    }

    /// The plan.
    pub fn options(&self) -> &MixtureOptions {
        &self.options
    }

    /// Samples until the mixture ends; nothing for one that does not.
    pub fn length(&self) -> Option<u64> {
        Some(self.schedule.length).filter(|&length| length < u64::MAX)
    }

    /// The shares that the sources really have in each stage, in samples per block.
    pub fn quotas(&self) -> Vec<Vec<u64>> {
        let stages = self.options.stages.iter();
        stages
            .map(|stage| quotas(&stage.weights, self.options.block))
            .collect()
    }

    /// sha256 over everything that decides which tokens a sample number stands for.
    pub fn fingerprint(&self) -> [u8; 32] {
        *self.digests.last().expect("a mixture has a stage")
    }

    /// Refuses a state, saved with sample `number` as the next, under another plan: one that differs before that sample.
    pub fn expect_fingerprint(&self, expected: &[u8; 32], number: u64) -> Result<()> {
        let agrees = |known: usize| {
            let later = self.options.stages.get(known + 1);
            self.digests[known] == *expected && later.is_none_or(|stage| stage.start >= number)
        };
        if (0..self.digests.len()).any(agrees) {
            return Ok(());
        }
        Err(Error::FingerprintMismatch {
            path: self.samplers[0].reader().path().to_path_buf(),
            what: "mixture plan",
            expected: hex(expected),
            found: hex(&self.fingerprint()),
        })
    }

    /// The source of a sample, and the number of the sample there.
    pub fn source(&self, number: u64) -> Result<(usize, u64)> {
        self.find(number, &mut Cursor::default())
    }

    /// Fills rows of inputs and targets with samples `first`, `first + 1`, …; both hold the sequence length of ids per row.
    pub fn fill<T: Id>(&self, first: u64, inputs: &mut [T], targets: &mut [T]) -> Result<()> {
        fill::fill(self, first, inputs, targets, None)
    }

    fn find(&self, number: u64, cursor: &mut Cursor) -> Result<(usize, u64)> {
        if number >= self.schedule.length {
            return Err(wrong(
                "sample",
                number.to_string(),
                &format!("below {}, where the mixture ends", self.schedule.length),
            ));
        }
        let segments = &self.schedule.segments;
        let segment = &segments[segments.partition_point(|s| s.start <= number) - 1];
        let within = number - segment.start;
        let (block, at) = (within / segment.block, within % segment.block);
        let key = Key {
            seed: self.options.seed,
            source: MIXTURE,
            epoch: segment.first_block + block,
            level: 0,
        };
        let slot = cursor
            .permutation(BLOCK_SLOT, key, segment.block, &self.tables)
            .get(at);
        let source = segment.slots.partition_point(|&first| first <= slot) - 1;
        let (first, end) = (segment.slots[source], segment.slots[source + 1]);
        let before = segment.bases[source] + block * (end - first);
        Ok((source, before + (slot - first)))
    }
}

impl Plan for Mixture {
    fn sequence_length(&self) -> u64 {
        self.samplers[0].sequence_length()
    }

    fn token_type(&self) -> TokenType {
        let mut types = self.samplers.iter().map(Plan::token_type);
        let widest = types.find(|&found| found == TokenType::U32);
        widest.unwrap_or(TokenType::U16)
    }

    fn ignores_targets(&self) -> bool {
        self.samplers.iter().any(Plan::ignores_targets)
    }

    fn locate(&self, number: u64, cursor: &mut Cursor) -> Result<(usize, &Sampler, u64)> {
        let (source, local) = self.find(number, cursor)?;
        Ok((source, &self.samplers[source], local))
    }
}

fn wrong(name: &'static str, found: String, expected: &str) -> Error {
    Error::ShardArgument {
        name,
        found,
        expected: expected.into(),
    }
}

/// How many samples a source may give.
#[allow(clippy::cast_sign_loss)] // checked
fn cap(samples: u64, max_epochs: Option<f64>) -> Result<u64> {
    match max_epochs {
        None => Ok(u64::MAX),
        Some(epochs) if epochs.is_finite() && epochs > 0.0 => Ok((epochs * samples as f64) as u64),
        Some(epochs) => Err(wrong("max_epochs", epochs.to_string(), "more than 0")),
    }
}

/// Samples of one mixture have one length, and their ids mean the same.
fn alike(first: &Sampler, other: &Sampler) -> Result<()> {
    let (wanted, found) = (first.sequence_length(), other.sequence_length());
    if wanted != found {
        let expected = format!("{wanted}, as in the first source");
        return Err(wrong("sequence_length", found.to_string(), &expected));
    }
    if let Some(tokenizer) = first.reader().fingerprint() {
        other.reader().expect_fingerprint(&tokenizer)?;
    }
    let (wanted, found) = (first.reader().vocab_size(), other.reader().vocab_size());
    if wanted != found {
        let expected = format!("{wanted:?}, as in the first source");
        return Err(wrong("vocab_size", format!("{found:?}"), &expected));
    }
    Ok(())
}

fn digests(samplers: &[Sampler], caps: &[u64], options: &MixtureOptions) -> Vec<[u8; 32]> {
    let exhausted = match options.exhausted {
        Exhausted::Stop => "stop",
        Exhausted::Renormalise => "renormalise",
    };
    let mut plan = vec![format!(
        "gptbpe mixture 1\nseed {}\nblock {}\nexhausted {exhausted}\n",
        options.seed, options.block
    )];
    for (sampler, cap) in samplers.iter().zip(caps) {
        let digest = hex(&sampler.fingerprint());
        plan.push(format!("source {digest} cap {cap}\n"));
    }
    let mut digest: [u8; 32] = Sha256::digest(plan.concat()).into();
    let stages = options.stages.iter().map(|stage| {
        let mut text = vec![format!("{}\nstart {}\n", hex(&digest), stage.start)];
        let weights = stage.weights.iter().map(|weight| weight.to_bits());
        text.extend(weights.map(|bits| format!("weight {bits:016x}\n")));
        digest = Sha256::digest(text.concat()).into();
        digest
    });
    stages.collect()
}
