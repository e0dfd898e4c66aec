//! Counts that do not fit in memory: sorted runs in temporary files, summed in the end.
//!
//! At most [`MOST_OPEN`] runs exist at a time: before
//! there would be more, small ones are summed into a larger one, so that n runs are copied about log n times each.

use std::path::{Path, PathBuf};

use super::super::GoOn;
use super::format::RunHeader;
use super::load::Calls;
use super::merged::{MOST_OPEN, Merged};
use super::reader::RunReader;
use super::temporary::TemporaryFile;
use super::writer::RunWriter;
use crate::{Error, Result};

/// Fewer runs than this are not worth summing.
const LEAST_SUMMED: usize = MOST_OPEN / 4;

/// Runs of one count that was too large for memory.
///
/// ```
/// use std::ops::ControlFlow;
/// use gptbpe_core::pattern::Pattern;
/// use gptbpe_core::train::runs::{RunHeader, Spill};
///
/// let header = RunHeader { pattern: Pattern::default(), special_tokens: vec![] };
/// let go_on = &mut || ControlFlow::Continue(());
/// let mut spill = Spill::new(&std::env::temp_dir(), header);
/// spill.push([(&b"a"[..], 2, 0), (&b"b"[..], 1, 1)], go_on)?;
/// spill.push([(&b"a"[..], 3, 2)], go_on)?;
/// let mut sum = spill.into_merged()?;
/// let a = sum.next()?.unwrap();
/// assert_eq!((a.word, a.count, a.place), (&b"a"[..], 5, 0));
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Spill {
    folder: PathBuf,
    header: RunHeader,
    /// From the oldest, which are the largest, to the youngest.
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    file: TemporaryFile,
    /// How often its words were summed.
    level: u32,
}

impl Spill {
    /// No runs yet; they will be files in `folder`.
    pub fn new(folder: &Path, header: RunHeader) -> Self {
        Self {
            folder: folder.to_path_buf(),
            header,
            runs: Vec::new(),
        }
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Writes a run of (word, count, place), in ascending order of the words' bytes. The places of all runs are those
    /// of one text. `go_on` may stop it, also while earlier runs are summed.
    pub fn push<'w>(
        &mut self,
        words: impl IntoIterator<Item = (&'w [u8], u64, u64)>,
        go_on: GoOn<'_>,
    ) -> Result<()> {
        if self.runs.len() + 1 >= MOST_OPEN {
            self.sum_small_ones(go_on)?;
        }
        let mut words = words.into_iter();
        let mut calls = Calls::new(go_on);
        self.write(0, |writer| {
            words.try_for_each(|(word, count, place)| {
                calls.after_a_word()?;
                writer.push(word, count, place)
            })
        })
    }

    /// The runs so far, which leaves none.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self::new(&self.folder, self.header.clone());
        std::mem::replace(self, empty)
    }

    /// The sum of all runs, word by word.
    pub fn into_merged(self) -> Result<Merged> {
        let runs = self.runs.into_iter().map(reader);
        Ok(Merged::of_one_count(runs.collect::<Result<Vec<_>>>()?))
    }

    /// The sum of all runs as one run, which can be read several times. `None` without words.
    pub(super) fn into_one(mut self, go_on: GoOn<'_>) -> Result<Option<RunReader>> {
        if self.runs.len() > 1 {
            let all = std::mem::take(&mut self.runs);
            self.sum(all, 0, go_on)?;
        }
        self.runs.pop().map(reader).transpose()
    }

    /// Makes one run of enough of the smallest ones.
    fn sum_small_ones(&mut self, go_on: GoOn<'_>) -> Result<()> {
        let mut level = 0;
        let enough = LEAST_SUMMED.min(self.runs.len());
        let begin = loop {
            let begin = self.runs.partition_point(|run| run.level > level);
            if self.runs.len() - begin >= enough {
                break begin;
            }
            level += 1;
        };
        let small = self.runs.split_off(begin);
        self.sum(small, level + 1, go_on)
    }

    fn sum(&mut self, runs: Vec<Run>, level: u32, go_on: GoOn<'_>) -> Result<()> {
        let readers: Result<Vec<_>> = runs.into_iter().map(reader).collect();
        let mut sum = Merged::of_one_count(readers?);
        let mut calls = Calls::new(go_on);
        self.write(level, |writer| {
            while let Some(counted) = sum.next()? {
                calls.after_a_word()?;
                writer.push(counted.word, counted.count, counted.place)?;
            }
            Ok(())
        })
    }

    fn write(&mut self, level: u32, fill: impl FnOnce(&mut RunWriter) -> Result<()>) -> Result<()> {
        let failed = |source| Error::Spill {
            folder: self.folder.clone(),
            source,
        };
        let TemporaryFile { file, path, remove } =
            TemporaryFile::create(&self.folder).map_err(failed)?;
        let mut writer = RunWriter::temporary(file, &self.folder, &self.header)?;
        fill(&mut writer)?;
        if let Some(file) = writer.finish_temporary()? {
            let file = TemporaryFile { file, path, remove };
            self.runs.push(Run { file, level });
        }
        Ok(())
    }
}

fn reader(run: Run) -> Result<RunReader> {
    let TemporaryFile { file, path, remove } = run.file;
    RunReader::new(file, &path, remove)
}
