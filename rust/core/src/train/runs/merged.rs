//! Adding runs up: a k-way merge in the order of the words, in memory that does not grow with them.

use super::format::{RunHeader, RunTotals};
use super::reader::{Counted, RunReader};
use crate::{Error, Result};

/// So many files are open at a time, at most.
pub const MOST_OPEN: usize = 64;

/// The sum of several runs, word by word: see [`merge`].
#[derive(Debug)]
pub struct Merged {
    runs: Vec<Weighted>,
    /// Runs that have a word: a heap whose first run has the smallest one.
    heap: Vec<usize>,
    word: Vec<u8>,
    started: bool,
}

#[derive(Debug)]
struct Weighted {
    reader: RunReader,
    weight: u64,
    /// Added to the places of this run.
    first_place: u64,
}

/// Adds up runs; each count is multiplied by the weight of its run.
///
/// Words come in the order of their bytes, each once. The places are those of the files' texts one after another, in
/// the order in which the files are given. Sums that exceed 64 bits are [`Error::CountOverflow`], and files that were
/// counted with different patterns or special tokens [`Error::CountsMismatch`].
///
/// All files are open at the same time: give at most [`MOST_OPEN`].
///
/// ```
/// use gptbpe_core::pattern::Pattern;
/// use gptbpe_core::train::runs::{RunHeader, RunReader, RunWriter, merge};
///
/// let path = std::env::temp_dir().join(format!("doc-merge-{}.pcnt", std::process::id()));
/// let header = RunHeader { pattern: Pattern::default(), special_tokens: vec![] };
/// let mut writer = RunWriter::create(&path, &header)?;
/// writer.push(b"low", 5, 0)?;
/// writer.finish(15, 1)?;
/// let readers = vec![RunReader::open(&path)?, RunReader::open(&path)?];
/// let mut sum = merge(readers, &[1, 3])?;
/// let low = sum.next()?.unwrap();
/// assert_eq!((low.word, low.count, low.place), (&b"low"[..], 20, 0));
/// assert!(sum.next()?.is_none());
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
pub fn merge(readers: Vec<RunReader>, weights: &[u64]) -> Result<Merged> {
    if weights.len() != readers.len() || weights.contains(&0) {
        return Err(Error::Weights {
            sources: readers.len(),
            weights: weights.to_vec(),
        });
    }
    if let Some((first, others)) = readers.split_first() {
        for other in others {
            let header: &RunHeader = first.header();
            header.expect_same(first.path(), other.header(), other.path())?;
        }
    }
    let mut places = 0_u64;
    let mut runs = Vec::with_capacity(readers.len());
    for (reader, &weight) in readers.into_iter().zip(weights) {
        let first_place = places;
        places = places
            .checked_add(reader.totals().places)
            .ok_or(Error::CountOverflow)?;
        runs.push(Weighted {
            reader,
            weight,
            first_place,
        });
    }
    Ok(Merged::new(runs))
}

impl Merged {
    fn new(runs: Vec<Weighted>) -> Self {
        Self {
            heap: Vec::with_capacity(runs.len()),
            runs,
            word: Vec::new(),
            started: false,
        }
    }

    /// Adds up runs of one count, which have places of their own that can be compared.
    pub(super) fn of_one_count(readers: impl IntoIterator<Item = RunReader>) -> Self {
        let runs = readers.into_iter().map(|reader| Weighted {
            reader,
            weight: 1,
            first_place: 0,
        });
        Self::new(runs.collect())
    }

    /// Bytes of text, documents and pre-tokens of all runs, weights left aside.
    pub fn totals(&self) -> RunTotals {
        let mut sum = RunTotals::default();
        for run in &self.runs {
            let totals = run.reader.totals();
            sum.text_bytes = sum.text_bytes.saturating_add(totals.text_bytes);
            sum.documents = sum.documents.saturating_add(totals.documents);
            sum.pretokens = sum.pretokens.saturating_add(totals.pretokens);
        }
        sum
    }

    /// The next word with its sum and its first place.
    #[expect(clippy::should_implement_trait)] // it lends the word
    pub fn next(&mut self) -> Result<Option<Counted<'_>>> {
        if !self.started {
            self.start()?;
        }
        let Some(&first) = self.heap.first() else {
            return Ok(None);
        };
        self.word.clear();
        self.word
            .extend_from_slice(self.runs[first].reader.current().word);
        let (mut count, mut place) = (0_u64, u64::MAX);
        while let Some(&index) = self.heap.first() {
            let run = &mut self.runs[index];
            let found = run.reader.current();
            if found.word != self.word {
                break;
            }
            count = found
                .count
                .checked_mul(run.weight)
                .and_then(|weighted| count.checked_add(weighted))
                .ok_or(Error::CountOverflow)?;
            let found_place = run.first_place.checked_add(found.place);
            place = place.min(found_place.ok_or(Error::CountOverflow)?);
            if !run.reader.advance()? {
                self.heap.swap_remove(0);
            }
            self.sink(0);
        }
        Ok(Some(Counted {
            word: &self.word,
            count,
            place,
        }))
    }

    fn start(&mut self) -> Result<()> {
        self.started = true;
        for (index, run) in self.runs.iter_mut().enumerate() {
            if run.reader.advance()? {
                self.heap.push(index);
            }
        }
        for at in (0..self.heap.len() / 2).rev() {
            self.sink(at);
        }
        Ok(())
    }

    /// Lets a run go down in the heap to where it belongs.
    fn sink(&mut self, mut at: usize) {
        loop {
            let children = 2 * at + 1..(2 * at + 3).min(self.heap.len());
            let word = |slot: usize| self.runs[self.heap[slot]].reader.current().word;
            let smallest = children.min_by(|&a, &b| word(a).cmp(word(b)));
            match smallest {
                Some(child) if word(child) < word(at) => {
                    self.heap.swap(at, child);
                    at = child;
                }
                _ => return,
            }
        }
    }
}
