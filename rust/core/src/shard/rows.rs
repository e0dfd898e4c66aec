//! Fills batches: rows of inputs and targets and, where they are wanted, what says which documents stand in them.
//!
//! A [`Plan`] says which sampler a global sample number belongs to, and which of its samples it is; everything else is the same
//! for one dataset and for a mixture.

use super::order::Cursor;
use super::reader::Id;
use super::sampler::Sampler;
use crate::{Error, Result};

/// What samples are numbered by: a dataset, or a mixture of them.
pub trait Plan: Send + Sync + std::fmt::Debug {
    /// Inputs per sample.
    fn sequence_length(&self) -> u64;

    /// The source of a sample, by its number among the sources and itself, and the sample's number there.
    fn locate(&self, number: u64, cursor: &mut Cursor) -> Result<(usize, &Sampler, u64)>;
}

/// What one thread keeps while it fills rows of one source.
#[derive(Debug, Default)]
pub(crate) struct RowScratch {
    pub(crate) cursor: Cursor,
    pub(crate) bytes: Vec<u8>,
}

/// Which documents stand in the rows of a batch.
#[derive(Debug)]
pub struct Masks<'a> {
    /// Where segments begin and end, (rows, `most` + 1): 0, the end of each, and the sequence length up to the end of the row.
    pub cu_seqlens: &'a mut [i32],
    /// The place of each input in its segment, (rows, sequence length).
    pub position_ids: &'a mut [i32],
    /// Whether a target counts, (rows, sequence length).
    pub loss_mask: &'a mut [bool],
    /// Segments in a row at most.
    pub most: usize,
    /// Whether the first token of a document is no target of the one before it.
    pub boundaries: bool,
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

fn wrong_size(found: String, expected: String) -> Error {
    Error::ShardArgument {
        name: "out",
        found,
        expected,
    }
}

impl Masks<'_> {
    fn check(&self, rows: usize, length: usize) -> Result<()> {
        let found = [
            self.cu_seqlens.len(),
            self.position_ids.len(),
            self.loss_mask.len(),
        ];
        let expected = [rows * (self.most + 1), rows * length, rows * length];
        if found == expected && self.most > 0 {
            return Ok(());
        }
        Err(wrong_size(format!("{found:?}"), format!("{expected:?}")))
    }

    /// `ends` are the columns at which segments end, ascending up to the sequence length.
    fn fill_row<T: Id + PartialEq>(
        &mut self,
        row: usize,
        number: u64,
        ends: &[Segment],
        targets: &mut [T],
    ) -> Result<()> {
        let length = targets.len();
        if ends.len() > self.most {
            return Err(Error::ShardArgument {
                name: "max_documents",
                found: self.most.to_string(),
                expected: format!("at least {}, so many are in sample {number}", ends.len()),
            });
        }
        let cu_seqlens = &mut self.cu_seqlens[row * (self.most + 1)..][..=self.most];
        cu_seqlens.fill(length as i32);
        cu_seqlens[0] = 0;
        let position_ids = &mut self.position_ids[row * length..][..length];
        let mut start = 0;
        for (segment, place) in ends.iter().zip(&mut cu_seqlens[1..]) {
            *place = segment.end as i32;
            for (position, id) in (0..).zip(&mut position_ids[start..segment.end]) {
                *id = position;
            }
            if self.boundaries && segment.document_ends && segment.end > 0 {
                targets[segment.end - 1] = T::IGNORED;
            }
            start = segment.end;
        }
        let loss_mask = &mut self.loss_mask[row * length..][..length];
        for (counts, target) in loss_mask.iter_mut().zip(&*targets) {
            *counts = *target != T::IGNORED;
        }
        Ok(())
    }
}

/// A stretch of a row within which attention stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The column behind it.
    pub(crate) end: usize,
    /// Whether its last input is the last token of a document.
    pub(crate) document_ends: bool,
}
