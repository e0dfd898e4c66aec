//! The text to learn from, as it comes.
//!
//! Text is gathered until there is enough to count, cut into documents where the caller says that one ends
//! and at separators, and counted by as many threads as are wanted. Of a document that is still coming in
//! a part is counted, where the split pattern knows places to cut, so memory does not grow with its
//! length. The counts are the same wherever the pieces end.

use std::fs::File;
use std::path::Path;

use super::GoOn;
use super::count::{Counter, WordCounts};
use super::runs::{BoundedCounts, RunHeader, RunTotals};
use super::words::Words;
use crate::documents::{DocumentBuffer, Separators};
use crate::scan::Pretokenizer;
use crate::simd::Kernel;
use crate::{Error, Result};

/// How much text is counted at a time: little enough to be in the cache when it is counted.
const BATCH_BYTES: usize = 1 << 20;
/// Text in which every word is new needs tables of at most so many times its size, on all threads together.
const TABLES_PER_TEXT: usize = 128;
/// Less text at a time is not worth the threads.
const LEAST_BATCH_BYTES: usize = 16 << 10;

/// How to count.
#[derive(Debug, Clone)]
pub struct CorpusOptions<'o> {
    /// The pattern, and the special tokens, which end documents and are not counted.
    pub header: RunHeader,
    /// Ends documents in running text; see [`Separators::line`].
    pub separator: Option<&'o str>,
    /// Threads that count; one is the caller's own.
    pub threads: usize,
    /// The memory for counting, and a folder for what exceeds it.
    pub limit: Option<(usize, &'o Path)>,
    /// The instructions to count with.
    pub kernel: Kernel,
}

/// Counts the pre-tokens of running text and documents.
///
/// ```
/// use std::ops::ControlFlow;
/// use gptbpe_core::pattern::Pattern;
/// use gptbpe_core::train::runs::RunHeader;
/// use gptbpe_core::train::{Corpus, CorpusOptions};
///
/// let mut corpus = Corpus::new(&CorpusOptions {
///     header: RunHeader { pattern: Pattern::default(), special_tokens: vec!["<|end|>".into()] },
///     separator: None,
///     threads: 1,
///     limit: None,
///     kernel: gptbpe_core::Kernel::best(),
/// })?;
/// let go_on = &mut || ControlFlow::Continue(());
/// corpus.push(b"to be<|en", go_on)?;
/// corpus.push(b"d|>to", go_on)?;
/// let words = corpus.words(go_on)?;
/// assert!(words.iter_first_seen().eq([(&b"to"[..], 2), (b" be", 1)]));
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
pub struct Corpus {
    counts: BoundedCounts,
    /// Text that is not counted yet.
    gathered: DocumentBuffer,
    batch_bytes: usize,
    /// How often each pre-token of the present source counts.
    weight: u64,
    text_bytes: u64,
    documents: u64,
}

impl Corpus {
    /// Nothing counted yet.
    pub fn new(options: &CorpusOptions<'_>) -> Result<Self> {
        let header = &options.header;
        let pretokenizer = Pretokenizer::new(&header.pattern)?;
        let separators = Separators::any_of_or_line(&header.special_tokens, options.separator)?;
        let cuts = pretokenizer.cuts();
        let cut = Box::new(move |text: &[u8]| cuts.last(text));
        let batch_bytes = options.limit.map_or(BATCH_BYTES, |(bytes, _)| {
            (bytes / TABLES_PER_TEXT).clamp(LEAST_BATCH_BYTES, BATCH_BYTES)
        });
        let counter = Counter::with_kernel(&pretokenizer, options.threads, options.kernel);
        Ok(Self {
            counts: BoundedCounts::new(header.clone(), counter, options.limit),
            gathered: DocumentBuffer::new(separators, cut, batch_bytes)
                .cut_documents(Separators::any_of(&header.special_tokens)?),
            batch_bytes,
            weight: 1,
            text_bytes: 0,
            documents: 0,
        })
    }

    /// Takes more of a running text.
    pub fn push(&mut self, text: &[u8], go_on: GoOn<'_>) -> Result<()> {
        for part in text.chunks(self.batch_bytes) {
            self.gathered.push(part)?;
            self.count_full(go_on)?;
        }
        Ok(())
    }

    /// Takes at most `most` bytes from a file, and returns how many there were: none at its end.
    pub fn read(
        &mut self,
        file: &mut File,
        path: &Path,
        most: usize,
        go_on: GoOn<'_>,
    ) -> Result<usize> {
        let most = most.min(self.batch_bytes);
        let read = self.gathered.read(file, path, most)?;
        self.count_full(go_on)?;
        Ok(read)
    }

    /// Takes a whole document, in which the separator is text.
    pub fn push_document(&mut self, document: &[u8], go_on: GoOn<'_>) -> Result<()> {
        self.gathered.push_document(document)?;
        self.count_full(go_on)
    }

    /// Ends a running text.
    pub fn end_file(&mut self) -> Result<()> {
        self.gathered.end_file()
    }

    /// Each pre-token of what comes from here on counts so many times.
    pub fn weigh(&mut self, weight: u64, go_on: GoOn<'_>) -> Result<()> {
        if weight != self.weight {
            self.count_all(go_on)?;
            self.weight = weight;
        }
        Ok(())
    }

    /// Adds `count` occurrences of a pre-token that was counted elsewhere.
    pub fn add_word(&mut self, word: &[u8], count: u64, go_on: GoOn<'_>) -> Result<()> {
        self.counts.add_word(word, count, go_on)
    }

    /// Adds pre-tokens that were counted elsewhere.
    pub fn add(&mut self, counted: WordCounts, go_on: GoOn<'_>) -> Result<()> {
        self.counts.add(counted, go_on)
    }

    fn count_full(&mut self, go_on: GoOn<'_>) -> Result<()> {
        while self.gathered.is_full() {
            self.count(go_on)?;
            if go_on().is_break() {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    }

    fn count_all(&mut self, go_on: GoOn<'_>) -> Result<()> {
        self.gathered.end_file()?;
        self.count(go_on)
    }

    /// Counts what is complete.
    fn count(&mut self, go_on: GoOn<'_>) -> Result<()> {
        let Some(batch) = self.gathered.take()? else {
            return Ok(());
        };
        self.text_bytes += batch.parts().map(|part| part.len() as u64).sum::<u64>();
        self.documents += batch.parts().len() as u64 - u64::from(batch.is_open());
        self.counts.count(batch, self.weight, go_on)
    }

    /// How many runs lie on the disk because of the limit.
    pub fn runs(&self) -> usize {
        self.counts.runs()
    }

    /// All that was counted so far, in memory. `go_on` may stop the reading of runs.
    pub fn words(&mut self, go_on: GoOn<'_>) -> Result<&WordCounts> {
        self.count_all(go_on)?;
        self.counts.words(go_on)
    }

    /// The same to learn from: in memory, or in a file if it was more than the limit allows.
    pub fn into_words(mut self, go_on: GoOn<'_>) -> Result<Words> {
        self.count_all(go_on)?;
        self.counts.into_words(go_on)
    }

    /// Writes all that was counted to a file of counts.
    pub fn write(mut self, path: &Path, go_on: GoOn<'_>) -> Result<RunTotals> {
        self.count_all(go_on)?;
        self.counts
            .write_file(path, self.text_bytes, self.documents, go_on)
    }
}
