//! What stands in the rows of a batch besides tokens: segments, positions, and which targets count.

use std::ops::Range;

use super::order::Cursor;
use super::reader::Id;
use crate::{Error, Result};

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

pub(crate) fn wrong_size(found: String, expected: String) -> Error {
    Error::ShardArgument {
        name: "out",
        found,
        expected,
    }
}

impl Masks<'_> {
    pub(super) fn check(&self, rows: usize, length: usize) -> Result<()> {
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

    /// What `marks` say of a row.
    #[allow(clippy::cast_possible_wrap)] // a sequence is shorter than 2³¹
    pub(super) fn fill_row<T: Id>(
        &mut self,
        row: usize,
        number: u64,
        marks: &mut Marks,
        targets: &mut [T],
    ) -> Result<()> {
        let length = targets.len();
        let Marks { ends, ignored } = marks;
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
                ignored.push(ignore(targets, segment.end - 1..segment.end));
            }
            start = segment.end;
        }
        let loss_mask = &mut self.loss_mask[row * length..][..length];
        loss_mask.fill(true);
        for range in ignored {
            loss_mask[range.clone()].fill(false);
        }
        Ok(())
    }
}

/// Makes targets that do not count what they are; returns where they stand.
pub(crate) fn ignore<T: Id>(targets: &mut [T], range: Range<usize>) -> Range<usize> {
    targets[range.clone()].fill(T::IGNORED.unwrap_or_default());
    range
}

/// What is known of a row besides its tokens.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// The columns at which segments end, ascending up to the sequence length.
    pub(crate) ends: Vec<Segment>,
    /// The columns whose targets do not count.
    pub(crate) ignored: Vec<Range<usize>>,
}

impl Marks {
    pub(crate) fn clear(&mut self) {
        self.ends.clear();
        self.ignored.clear();
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
