//! Counting within a limit of memory: a table that becomes a run before it grows too large.

use std::ops::ControlFlow;
use std::path::Path;

use super::super::WordCounts;
use super::format::{RunHeader, RunTotals};
use super::load::{Calls, add_all};
use super::spill::Spill;
use super::writer::RunWriter;
use crate::Result;

/// Counts of words, of which only a part is in memory if there is a limit.
///
/// ```
/// use std::ops::ControlFlow;
/// use gptbpe_core::pattern::Pattern;
/// use gptbpe_core::train::WordCounts;
/// use gptbpe_core::train::runs::{BoundedCounts, RunHeader};
///
/// let header = RunHeader { pattern: Pattern::default(), special_tokens: vec![] };
/// let folder = std::env::temp_dir();
/// let mut counts = BoundedCounts::new(header, Some((1 << 16, &folder)));
/// for number in 0..10_000 {
///     let mut words = WordCounts::new();
///     words.add(format!("{number}").as_bytes(), 1)?;
///     counts.add(words, 3)?; // with weight 3
/// }
/// assert!(counts.runs() > 0);
/// let words = counts.words(&mut || ControlFlow::Continue(()))?;
/// assert_eq!(words.len(), 10_000);
/// assert_eq!(words.iter_first_seen().last(), Some((&b"9999"[..], 3)));
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug)]
pub struct BoundedCounts {
    header: RunHeader,
    words: WordCounts,
    /// Bytes for words that are not in a slot.
    long_bytes: usize,
    /// How many bytes the table may have.
    table_bytes: usize,
    spill: Spill,
    /// How many words went into runs before: the place of the first word in the table.
    first_place: u64,
}

/// The words that a slot of the table holds, and what a longer one costs besides its bytes.
const SHORT: usize = 15;
const LONG_OVERHEAD: usize = 64;
const SLOT_BYTES: usize = 32;

impl BoundedCounts {
    /// Nothing counted yet. The limit is the memory for all of counting, and the folder for what exceeds it.
    pub fn new(header: RunHeader, limit: Option<(usize, &Path)>) -> Self {
        let folder = limit.map_or(Path::new(""), |(_, folder)| folder);
        Self {
            spill: Spill::new(folder, header.clone()),
            header,
            words: WordCounts::new(),
            long_bytes: 0,
            // While the table grows there are two; sorting takes as much as the table; text is counted elsewhere.
            table_bytes: limit.map_or(usize::MAX, |(bytes, _)| bytes / 5),
            first_place: 0,
        }
    }

    /// How many runs there are on the disk.
    pub fn runs(&self) -> usize {
        self.spill.len()
    }

    /// Adds everything counted in `counted`, each count multiplied by `weight`, as if its text came after.
    pub fn add(&mut self, counted: WordCounts, weight: u64) -> Result<()> {
        if self.table_bytes == usize::MAX && weight == 1 {
            if self.words.is_empty() {
                self.words = counted;
                return Ok(());
            }
            return self.words.merge(&counted);
        }
        for (word, count) in counted.iter_first_seen() {
            let weighted = count.checked_mul(weight);
            self.add_word(word, weighted.ok_or(crate::Error::CountOverflow)?)?;
        }
        Ok(())
    }

    /// Adds `count` occurrences of a word.
    pub fn add_word(&mut self, word: &[u8], count: u64) -> Result<()> {
        if self.bytes_with_one_more() > self.table_bytes && !self.words.is_empty() {
            self.write_run()?;
        }
        let before = self.words.len();
        self.words.add(word, count)?;
        if self.words.len() > before && word.len() > SHORT {
            self.long_bytes += word.len() + LONG_OVERHEAD;
        }
        Ok(())
    }

    fn bytes_with_one_more(&self) -> usize {
        let slots = (2 * self.words.len() + 1).next_power_of_two();
        slots * SLOT_BYTES + self.long_bytes
    }

    fn write_run(&mut self) -> Result<()> {
        let words = std::mem::take(&mut self.words);
        self.spill.push(sorted(&words, self.first_place))?;
        self.first_place += words.len() as u64;
        self.long_bytes = 0;
        Ok(())
    }

    /// All that was counted, in memory. `progress` may stop the reading of runs.
    pub fn words(&mut self, progress: &mut dyn FnMut() -> ControlFlow<()>) -> Result<&WordCounts> {
        if !self.spill.is_empty() {
            self.write_run()?;
            let mut all = WordCounts::new();
            add_all(self.spill.take().into_merged()?, &mut all, progress)?;
            self.table_bytes = usize::MAX;
            self.words = all;
            self.first_place = 0;
        }
        Ok(&self.words)
    }

    /// Writes all that was counted to a file. `progress` is called now and then and may stop.
    pub fn write(
        mut self,
        path: &Path,
        text_bytes: u64,
        documents: u64,
        progress: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<RunTotals> {
        let mut writer = RunWriter::create(path, &self.header)?;
        let mut calls = Calls::new(progress);
        if self.spill.is_empty() {
            for (word, count, place) in sorted(&self.words, 0) {
                calls.after_a_word()?;
                writer.push(word, count, place)?;
            }
        } else {
            self.write_run()?;
            let mut sum = self.spill.into_merged()?;
            while let Some(counted) = sum.next()? {
                calls.after_a_word()?;
                writer.push(counted.word, counted.count, counted.place)?;
            }
        }
        writer.finish(text_bytes, documents)
    }
}

/// Words, counts and places in the order of the words' bytes.
fn sorted(words: &WordCounts, first_place: u64) -> impl Iterator<Item = (&[u8], u64, u64)> {
    let places = first_place..;
    let words = words.iter_first_seen().zip(places);
    let mut all: Vec<_> = words
        .map(|((word, count), place)| (word, count, place))
        .collect();
    all.sort_unstable();
    all.into_iter()
}
