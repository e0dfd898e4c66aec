//! Counting within a limit of memory: tables that become a run before they grow too large.

use std::path::Path;

use super::super::GoOn;
use super::super::count::{Counter, WordCounts};
use super::super::words::Words;
use super::format::{RunHeader, RunTotals};
use super::load::{Calls, add_all};
use super::spill::Spill;
use super::words::RunWords;
use super::writer::RunWriter;
use crate::Result;
use crate::documents::DocumentBatch;

/// Counts of words, of which only a part is in memory if there is a limit.
///
/// ```
/// use std::ops::ControlFlow;
/// use gptbpe_core::pattern::Pattern;
/// use gptbpe_core::scan::Pretokenizer;
/// use gptbpe_core::train::Counter;
/// use gptbpe_core::train::runs::{BoundedCounts, RunHeader};
///
/// let header = RunHeader { pattern: Pattern::default(), special_tokens: vec![] };
/// let counter = Counter::new(&Pretokenizer::new(&header.pattern)?, 1);
/// let folder = std::env::temp_dir();
/// let mut counts = BoundedCounts::new(header, counter, Some((1 << 20, &folder)));
/// let go_on = &mut || ControlFlow::Continue(());
/// for number in 0..20_000 {
///     counts.add_word(format!("{number}").as_bytes(), 3, go_on)?;
/// }
/// assert!(counts.runs() > 0);
/// let words = counts.words(go_on)?;
/// assert_eq!(words.len(), 20_000);
/// assert_eq!(words.iter_first_seen().last(), Some((&b"19999"[..], 3)));
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug)]
pub struct BoundedCounts {
    header: RunHeader,
    /// What is counted in text.
    counter: Counter,
    /// What was counted elsewhere.
    words: WordCounts,
    /// How many bytes the tables may have.
    table_bytes: usize,
    spill: Spill,
    /// Places in earlier runs are smaller.
    first_place: u64,
}

/// Smaller tables are not worth a run.
const LEAST_TABLE_BYTES: usize = 1 << 17;

impl BoundedCounts {
    /// Nothing counted yet. The limit is the memory for all of counting, and the folder for what exceeds it.
    pub fn new(header: RunHeader, counter: Counter, limit: Option<(usize, &Path)>) -> Self {
        let folder = limit.map_or(Path::new(""), |(_, folder)| folder);
        Self {
            spill: Spill::new(folder, header.clone()),
            header,
            words: WordCounts::new(),
            // Each thread may count one more batch before the tables are written, a table that grows is there twice
            // for a moment, and sorting takes half of one.
            table_bytes: limit.map_or(usize::MAX, |(bytes, _)| {
                (bytes / (3 + counter.threads())).max(LEAST_TABLE_BYTES)
            }),
            first_place: 0,
            counter,
        }
    }

    /// How many runs there are on the disk.
    pub fn runs(&self) -> usize {
        self.spill.len()
    }

    /// Counts every pre-token of a batch `weight` times, perhaps later; see [`Counter::count`]. `go_on` may stop it.
    pub fn count(&mut self, batch: DocumentBatch, weight: u64, go_on: GoOn<'_>) -> Result<()> {
        self.counter.count(batch, weight, go_on)?;
        if self.counter.memory() > self.table_bytes {
            self.write_run(go_on)?;
        }
        Ok(())
    }

    /// Adds `count` occurrences of a word.
    pub fn add_word(&mut self, word: &[u8], count: u64, go_on: GoOn<'_>) -> Result<()> {
        self.words.add(word, count)?;
        if self.words.memory() > self.table_bytes {
            self.write_run(go_on)?;
        }
        Ok(())
    }

    /// Adds what was counted elsewhere, as if its text came after.
    pub fn add(&mut self, counted: WordCounts, go_on: GoOn<'_>) -> Result<()> {
        self.gather(go_on)?;
        if self.words.is_empty() {
            self.words = counted;
            return Ok(());
        }
        self.words.merge(&counted)
    }

    /// Waits for what is being counted, and puts it with what was counted elsewhere.
    fn gather(&mut self, go_on: GoOn<'_>) -> Result<()> {
        let counted = self.counter.take(go_on)?;
        if counted.is_empty() {
            return Ok(());
        }
        if self.words.is_empty() {
            self.words = counted;
            return Ok(());
        }
        self.words.merge(&counted)
    }

    fn write_run(&mut self, go_on: GoOn<'_>) -> Result<()> {
        let mut words = std::mem::take(&mut self.words);
        let end = words.end_place();
        words.freeze();
        self.write(&words, go_on)?;
        self.first_place += end;
        let (counted, end) = self.counter.take_apart(go_on)?;
        for words in counted {
            self.write(&words, go_on)?;
        }
        self.first_place += end;
        Ok(())
    }

    /// Writes a run.
    fn write(&mut self, words: &WordCounts, go_on: GoOn<'_>) -> Result<()> {
        if words.is_empty() {
            return Ok(());
        }
        let first = self.first_place;
        let sorted = words.sorted(go_on)?;
        let sorted = sorted.map(|(word, tally)| (word, tally.count, first + tally.place));
        self.spill.push(sorted, go_on)
    }

    /// All that was counted, in memory. `go_on` may stop the reading of runs.
    pub fn words(&mut self, go_on: GoOn<'_>) -> Result<&WordCounts> {
        if self.spill.is_empty() {
            self.gather(go_on)?;
        } else {
            self.write_run(go_on)?;
            let mut all = WordCounts::new();
            add_all(self.spill.take().into_merged()?, &mut all, go_on)?;
            self.words = all;
            self.first_place = 0;
        }
        Ok(&self.words)
    }

    /// All that was counted: in memory, or in a file if it was more than the limit allows.
    pub fn into_words(mut self, go_on: GoOn<'_>) -> Result<Words> {
        if self.spill.is_empty() {
            self.gather(go_on)?;
            return Ok(self.words.into());
        }
        self.write_run(go_on)?;
        let run = self.spill.into_one(go_on)?;
        Ok(run.map_or_else(|| self.words.into(), |run| RunWords::new(run).into()))
    }

    /// Writes all that was counted to a file. `go_on` may stop it.
    pub fn write_file(
        mut self,
        path: &Path,
        text_bytes: u64,
        documents: u64,
        go_on: GoOn<'_>,
    ) -> Result<RunTotals> {
        let mut writer = RunWriter::create(path, &self.header)?;
        if self.spill.is_empty() {
            self.gather(go_on)?;
            let mut calls = Calls::new(go_on);
            for (word, count, place) in numbered(&self.words) {
                calls.after_a_word()?;
                writer.push(word, count, place)?;
            }
        } else {
            self.write_run(go_on)?;
            let mut calls = Calls::new(go_on);
            let mut sum = self.spill.into_merged()?;
            while let Some(counted) = sum.next()? {
                calls.after_a_word()?;
                writer.push(counted.word, counted.count, counted.place)?;
            }
        }
        writer.finish(text_bytes, documents)
    }
}

/// Words and counts in the order of the words' bytes, with consecutive places from 0, which do not depend on how the
/// text was divided.
fn numbered(words: &WordCounts) -> impl Iterator<Item = (&[u8], u64, u64)> {
    let words = words.iter_first_seen().zip(0..);
    let mut all: Vec<_> = words
        .map(|((word, count), place)| (word, count, place))
        .collect();
    all.sort_unstable();
    all.into_iter()
}
