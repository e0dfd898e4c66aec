//! Fills batches: rows of inputs and targets and, where they are wanted, what says which documents stand in them.
//!
//! A [`Plan`] says which sampler a global sample number belongs to, and which of its samples it is; everything else is the same
//! for one dataset and for a mixture.

use super::order::Cursor;
use super::reader::Id;
use super::rows::{Masks, RowScratch, wrong_size};
use super::sampler::Sampler;
use crate::Result;

/// What samples are numbered by: a dataset, or a mixture of them.
pub trait Plan: Send + Sync + std::fmt::Debug {
    /// Inputs per sample.
    fn sequence_length(&self) -> u64;

    /// The source of a sample, by its number among the sources and itself, and the sample's number there.
    fn locate(&self, number: u64, cursor: &mut Cursor) -> Result<(usize, &Sampler, u64)>;
}

impl Plan for Sampler {
    fn sequence_length(&self) -> u64 {
        self.options().sequence_length
    }

    fn locate(&self, number: u64, _: &mut Cursor) -> Result<(usize, &Sampler, u64)> {
        Ok((0, self, number))
    }
}

impl Sampler {
    /// Fills rows of inputs and targets with samples `first`, `first + 1`, …; both hold `sequence_length` ids per row.
    pub fn fill<T: Id + PartialEq>(
        &self,
        first: u64,
        inputs: &mut [T],
        targets: &mut [T],
    ) -> Result<()> {
        fill(self, first, inputs, targets, None)
    }
}

/// Fills rows with samples `first`, `first + 1`, …; `inputs` and `targets` hold the sequence length of ids per row.
pub fn fill<T: Id + PartialEq>(
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
    let mut cursor = Cursor::default();
    let mut scratch: Vec<RowScratch> = Vec::new();
    let mut ends = Vec::new();
    let pairs = inputs
        .chunks_exact_mut(length)
        .zip(targets.chunks_exact_mut(length));
    for (row, (inputs, targets)) in pairs.enumerate() {
        let number = first.saturating_add(row as u64);
        let (source, sampler, local) = plan.locate(number, &mut cursor)?;
        if scratch.len() <= source {
            scratch.resize_with(source + 1, RowScratch::default);
        }
        let scratch = &mut scratch[source];
        let wanted = masks.is_some().then_some(&mut ends);
        sampler.row(local, inputs, targets, scratch, wanted)?;
        if let Some(masks) = &mut masks {
            masks.fill_row(row, number, &ends, targets)?;
        }
    }
    Ok(())
}
