//! Counting on several threads.

use std::ops::ControlFlow;

use super::pool::{Job, Pool};
use super::table::WordTable;
use super::worker::{PLACE_BITS, Worker};
use super::{GoOn, WordCounts, look};
use crate::Result;
use crate::documents::{DocumentBatch, DocumentBuffer, Separators};
use crate::scan::Pretokenizer;
use crate::simd::Kernel;

/// Joins the tables of threads that counted batches of one text.
fn join(
    tables: impl IntoIterator<Item = WordTable>,
    batches: u64,
    go_on: GoOn<'_>,
) -> Result<WordCounts> {
    let mut tables: Vec<WordTable> = tables.into_iter().collect();
    // The smaller ones are added to the greatest.
    tables.sort_by_key(|table| std::cmp::Reverse(table.len()));
    let mut tables = tables.into_iter();
    let mut table = tables
        .next()
        .unwrap_or_else(|| WordTable::new(Kernel::best()));
    for other in tables {
        look(go_on)?;
        table.merge(&other, 0, go_on)?;
    }
    table.begin_at(batches << PLACE_BITS);
    Ok(WordCounts { table })
}

/// Counts text that comes in batches, on threads that run until the end.
///
/// ```
/// use std::ops::ControlFlow;
/// use gptbpe_core::documents::{DocumentBuffer, Separators};
/// use gptbpe_core::train::Counter;
/// use gptbpe_core::{pattern::Pattern, scan::Pretokenizer};
///
/// let mut buffer = DocumentBuffer::new(Separators::none(), Box::new(|_| None), 1 << 20);
/// buffer.push_document(b"to be or not to be")?;
/// let mut counter = Counter::new(&Pretokenizer::new(&Pattern::default())?, 2);
/// let go_on = &mut || ControlFlow::Continue(());
/// counter.count(buffer.take()?.unwrap(), 1, go_on)?;
/// let words = counter.take(go_on)?;
/// assert_eq!(words.iter_first_seen().last(), Some((&b" to"[..], 1)));
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Counter {
    pretokenizer: Pretokenizer,
    kernel: Kernel,
    threads: usize,
    /// Batches so far.
    batches: u64,
    /// Where the caller's is the only thread, or the system had no other.
    alone: Option<Worker>,
    pool: Option<Pool>,
}

impl Counter {
    /// Nothing counted yet. One thread is the caller's own.
    pub fn new(pretokenizer: &Pretokenizer, threads: usize) -> Self {
        Self::with_kernel(pretokenizer, threads, Kernel::best())
    }

    /// The same with a kernel other than the best; for tests and benchmarks.
    #[doc(hidden)]
    pub fn with_kernel(pretokenizer: &Pretokenizer, threads: usize, kernel: Kernel) -> Self {
        Self {
            pretokenizer: pretokenizer.clone(),
            kernel,
            threads,
            batches: 0,
            alone: None,
            pool: None,
        }
    }

    /// How many threads count.
    pub(in super::super) fn threads(&self) -> usize {
        self.threads.max(1)
    }

    /// Counts every pre-token of a batch `weight` times. On several threads it is counted later, and an error
    /// may be that of an earlier batch. `go_on` may stop it, after which nothing more can be counted.
    pub fn count(&mut self, batch: DocumentBatch, weight: u64, go_on: GoOn<'_>) -> Result<()> {
        let number = self.batches;
        self.batches += 1;
        if self.threads > 1 && self.pool.is_none() && self.alone.is_none() {
            self.pool = Pool::new(&self.pretokenizer, self.kernel, self.threads);
        }
        if let Some(pool) = &self.pool {
            let job = Job {
                number,
                batch,
                weight,
            };
            return pool.count(job, go_on);
        }
        let worker = self.alone.get_or_insert_with(|| Worker::new(self.kernel));
        worker.count(&self.pretokenizer, number, batch.parts(), weight, go_on)
    }

    /// Waits for the threads and returns what was counted since the last call. The places of
    /// what is counted afterwards begin anew.
    pub fn take(&mut self, go_on: GoOn<'_>) -> Result<WordCounts> {
        let batches = self.batches;
        join(self.take_tables(go_on)?, batches, go_on)
    }

    /// The same as each thread has counted it, frozen, which takes less memory. The counts of a word are to be added up, and
    /// all places are those of one text; and a place that is greater than all of them.
    pub(in super::super) fn take_apart(
        &mut self,
        go_on: GoOn<'_>,
    ) -> Result<(impl Iterator<Item = WordCounts> + use<>, u64)> {
        let end = self.batches << PLACE_BITS;
        let mut tables = self.take_tables(go_on)?;
        tables.iter_mut().for_each(WordTable::freeze);
        Ok((tables.into_iter().map(|table| WordCounts { table }), end))
    }

    fn take_tables(&mut self, go_on: GoOn<'_>) -> Result<Vec<WordTable>> {
        self.batches = 0;
        let fresh = || WordTable::new(self.kernel);
        let mut tables = match &self.pool {
            Some(pool) => pool.take(fresh, go_on)?,
            None => Vec::new(),
        };
        if let Some(worker) = &mut self.alone {
            tables.push(std::mem::replace(&mut worker.table, fresh()));
        }
        Ok(tables)
    }

    /// About how many bytes the tables take.
    pub fn memory(&self) -> usize {
        let alone = self.alone.as_ref().map(|worker| worker.table.memory());
        let pool = self.pool.as_ref().map(Pool::memory);
        alone.unwrap_or(0) + pool.unwrap_or(0)
    }
}

/// About this much text is handed out at once.
const BATCH: usize = 1 << 20;

/// Counts the pre-tokens of `documents` on `threads` threads. The result does
/// not depend on their number: long documents are cut only where that changes
/// nothing, and words keep the places in which they stand in the documents.
pub fn count_documents(
    pretokenizer: &Pretokenizer,
    documents: &[&[u8]],
    threads: usize,
) -> Result<WordCounts> {
    let cuts = pretokenizer.cuts();
    let cut = Box::new(move |text: &[u8]| cuts.last(text));
    let mut buffer = DocumentBuffer::new(Separators::none(), cut, BATCH);
    let mut counter = Counter::new(pretokenizer, threads);
    let go_on: GoOn<'_> = &mut || ControlFlow::Continue(());
    for document in documents {
        for part in document.chunks(BATCH) {
            buffer.push(part)?;
            while buffer.is_full() {
                if let Some(batch) = buffer.take()? {
                    counter.count(batch, 1, go_on)?;
                }
            }
        }
        buffer.end_file()?;
    }
    if let Some(batch) = buffer.take()? {
        counter.count(batch, 1, go_on)?;
    }
    counter.take(go_on)
}
