//! Fills batches: rows of inputs and targets and, where they are wanted, what says which documents stand in them.
//!
//! A [`Plan`] says which sampler a global sample number belongs to, and which of its samples it is; everything else is the same
//! for one dataset and for a mixture.

use super::format::TokenType;
use super::order::Cursor;
use super::reader::Id;
use super::rows::{Marks, Masks, RowScratch, wrong_size};
use super::sampler::Sampler;
use crate::{Error, Result};

/// What samples are numbered by: a dataset, or a mixture of them.
pub trait Plan: Send + Sync + std::fmt::Debug {
    /// Inputs per sample.
    fn sequence_length(&self) -> u64;

    /// The widest token of the sources.
    fn token_type(&self) -> TokenType;

    /// Whether samples may have targets that do not count.
    fn ignores_targets(&self) -> bool;

    /// The source of a sample, by its number among the sources and itself, and the sample's number there.
    fn locate(&self, number: u64, cursor: &mut Cursor) -> Result<(usize, &Sampler, u64)>;
}

impl Plan for Sampler {
    fn sequence_length(&self) -> u64 {
        self.options().sequence_length
    }

    fn token_type(&self) -> TokenType {
        self.reader().token_type()
    }

    fn ignores_targets(&self) -> bool {
        self.options().ignores_targets()
    }

    fn locate(&self, number: u64, _: &mut Cursor) -> Result<(usize, &Sampler, u64)> {
        Ok((0, self, number))
    }
}

impl Sampler {
    /// Fills rows of inputs and targets with samples `first`, `first + 1`, …; both hold `sequence_length` ids per row.
    pub fn fill<T: Id>(&self, first: u64, inputs: &mut [T], targets: &mut [T]) -> Result<()> {
        fill(self, first, inputs, targets, None)
    }
}

/// Fills rows with samples `first`, `first + 1`, …; `inputs` and `targets` hold the sequence length of ids per row.
pub fn fill<T: Id>(
    plan: &dyn Plan,
    first: u64,
    inputs: &mut [T],
    targets: &mut [T],
    mut masks: Option<Masks<'_>>,
) -> Result<()> {
    let length = plan.sequence_length() as usize;
    let rows = inputs.len() / length;
    if inputs.len() != targets.len() || !inputs.len().is_multiple_of(length) {
        let found = format!("{} inputs and {} targets", inputs.len(), targets.len());
        return Err(wrong_size(found, format!("equal multiples of {length}")));
    }
    if let Some(masks) = &masks {
        masks.check(rows, length)?;
    }
    check_type::<T>(plan, masks.is_some())?;
    let mut cursor = Cursor::default();
    let mut locate = |row: usize| {
        let number = first.saturating_add(row as u64);
        let there = row < rows;
        there.then(|| plan.locate(number, &mut cursor)).transpose()
    };
    let mut scratch: Vec<RowScratch> = Vec::new();
    let mut marks = Marks::default();
    let pairs = inputs
        .chunks_exact_mut(length)
        .zip(targets.chunks_exact_mut(length));
    let mut next = locate(0)?;
    for (row, (inputs, targets)) in pairs.enumerate() {
        let (source, sampler, local) = next.expect("each row has a place");
        next = locate(row + 1)?;
        // The tokens of the next row are on their way while this one is written.
        if let Some((source, sampler, local)) = next {
            sampler.prefetch(local, of_source(&mut scratch, source));
        }
        let number = first.saturating_add(row as u64);
        let scratch = of_source(&mut scratch, source);
        let wanted = masks.is_some().then_some(&mut marks);
        sampler.row(local, inputs, targets, scratch, wanted)?;
        if let Some(masks) = &mut masks {
            masks.fill_row(row, number, &mut marks, targets)?;
        }
    }
    Ok(())
}

fn of_source(scratch: &mut Vec<RowScratch>, source: usize) -> &mut RowScratch {
    if scratch.len() <= source {
        scratch.resize_with(source + 1, RowScratch::default);
    }
    &mut scratch[source]
}

/// Refuses integers in which the ids of a plan, or what it leaves out, cannot be said.
pub fn check_type<T: Id>(plan: &dyn Plan, masked: bool) -> Result<()> {
    let wrong = |expected: &str| {
        Err(Error::ShardArgument {
            name: "dtype",
            found: T::NAME.into(),
            expected: expected.into(),
        })
    };
    if !T::holds(plan.token_type()) {
        return wrong("uint32, int32 or int64: the shards hold ids of 32 bits");
    }
    if T::IGNORED.is_none() && !masked && plan.ignores_targets() {
        return wrong(
            "int32 or int64, in which -1 says that a target does not count; or masked_batch, whose loss_mask says it",
        );
    }
    Ok(())
}
