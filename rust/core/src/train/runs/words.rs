//! The words of one run, for readers that come more than once.

use super::super::GoOn;
use super::load::Calls;
use super::reader::RunReader;
use crate::Result;

/// Words and counts in a file that only this process can reach, in the order of the words' bytes.
#[derive(Debug)]
pub struct RunWords {
    reader: RunReader,
}

impl RunWords {
    pub(super) fn new(reader: RunReader) -> Self {
        Self { reader }
    }

    /// Different words.
    pub fn len(&self) -> usize {
        self.reader.totals().words as usize
    }

    /// Whether nothing has been counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many windows of two bytes there are in the words, or at least `enough`.
    pub(in super::super) fn windows(&mut self, enough: usize) -> Result<usize> {
        self.reader.rewind()?;
        let mut windows = 0_usize;
        while windows < enough
            && let Some(counted) = self.reader.next()?
        {
            windows = windows.saturating_add(counted.word.len() - 1);
        }
        Ok(windows)
    }

    /// Calls `f` with every word, its count and its place. `go_on` may stop it.
    pub fn each(
        &mut self,
        go_on: GoOn<'_>,
        mut f: impl FnMut(&[u8], u64, u64) -> Result<()>,
    ) -> Result<()> {
        self.reader.rewind()?;
        let mut calls = Calls::new(go_on);
        while let Some(counted) = self.reader.next()? {
            calls.after_a_word()?;
            f(counted.word, counted.count, counted.place)?;
        }
        Ok(())
    }
}
