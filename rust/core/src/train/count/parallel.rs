//! Counting on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::WordCounts;
use super::block::{Counting, Room};
use super::table::WordTable;
use crate::Result;
use crate::documents::DocumentBatch;
use crate::scan::Pretokenizer;
use crate::simd::Kernel;

/// New words of a batch have places of so many bits, below the number of the batch.
const PLACE_BITS: u32 = 40;

/// A thread's table with its working memory.
#[derive(Debug)]
struct Worker {
    room: Room,
    table: WordTable,
}

impl Worker {
    fn new(kernel: Kernel) -> Self {
        Self {
            room: Room::new(),
            table: WordTable::new(kernel),
        }
    }

    /// Counts the texts of batch `number`.
    fn count<'t>(
        &mut self,
        pretokenizer: &Pretokenizer,
        number: u64,
        texts: impl Iterator<Item = &'t [u8]>,
        weight: u64,
    ) -> Result<()> {
        self.table.begin_at(number << PLACE_BITS);
        let mut counting = Counting::new(pretokenizer, &mut self.room, &mut self.table, weight);
        for text in texts {
            counting.push(text)?;
        }
        counting.flush()
    }
}

/// Joins the tables of threads that counted batches of one text.
fn join(tables: impl IntoIterator<Item = WordTable>, batches: u64) -> Result<WordCounts> {
    let mut tables: Vec<WordTable> = tables.into_iter().collect();
    // The smaller ones are added to the greatest.
    tables.sort_by_key(|table| std::cmp::Reverse(table.len()));
    let mut tables = tables.into_iter();
    let mut table = tables
        .next()
        .unwrap_or_else(|| WordTable::new(Kernel::best()));
    for other in tables {
        table.merge(&other, 0)?;
    }
    table.begin_at(batches << PLACE_BITS);
    Ok(WordCounts { table })
}

/// Counts text that comes in batches, on threads that run until the end.
///
/// ```
/// use gptbpe_core::documents::{DocumentBuffer, Separators};
/// use gptbpe_core::train::Counter;
/// use gptbpe_core::{pattern::Pattern, scan::Pretokenizer};
///
/// let mut buffer = DocumentBuffer::new(Separators::none(), Box::new(|_| None), 1 << 20);
/// buffer.push_document(b"to be or not to be")?;
/// let mut counter = Counter::new(&Pretokenizer::new(&Pattern::default())?, 2);
/// counter.count(buffer.take()?.unwrap(), 1)?;
/// let words = counter.finish()?;
/// assert_eq!(words.iter_first_seen().last(), Some((&b" not"[..], 1)));
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Counter {
    pretokenizer: Pretokenizer,
    kernel: Kernel,
    threads: usize,
    /// Batches so far.
    batches: u64,
    /// The only thread is the caller's.
    alone: Option<Worker>,
    crew: Option<Crew>,
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
            crew: None,
        }
    }

    /// Counts every pre-token of a batch `weight` times. On several threads it is counted later, and an error
    /// may be that of an earlier batch.
    pub fn count(&mut self, batch: DocumentBatch, weight: u64) -> Result<()> {
        let number = self.batches;
        self.batches += 1;
        if self.threads <= 1 {
            let worker = self.alone.get_or_insert_with(|| Worker::new(self.kernel));
            return worker.count(&self.pretokenizer, number, batch.parts(), weight);
        }
        let crew = self
            .crew
            .get_or_insert_with(|| Crew::new(&self.pretokenizer, self.kernel, self.threads));
        let job = Job {
            number,
            batch,
            weight,
        };
        if crew.jobs.send(job).is_err() {
            // All threads have stopped; one of them knows why.
            return self.finish_crew().map(drop);
        }
        Ok(())
    }

    fn finish_crew(&mut self) -> Result<Vec<WordTable>> {
        match self.crew.take() {
            Some(crew) => crew.finish(),
            None => Ok(Vec::new()),
        }
    }

    /// Waits for the threads and returns what was counted since the last call. The places of
    /// what is counted afterwards begin anew.
    pub fn take(&mut self) -> Result<WordCounts> {
        let tables = self.finish_crew()?;
        let alone = self.alone.take().map(|worker| worker.table);
        let batches = std::mem::take(&mut self.batches);
        join(tables.into_iter().chain(alone), batches)
    }

    /// Waits for the threads and returns what was counted.
    pub fn finish(mut self) -> Result<WordCounts> {
        self.take()
    }

    /// About how many bytes the tables take.
    pub fn memory(&self) -> usize {
        let alone = self.alone.as_ref().map(|worker| worker.table.memory());
        let crew = self
            .crew
            .as_ref()
            .map(|crew| crew.memory.load(Ordering::Relaxed));
        alone.unwrap_or(0) + crew.unwrap_or(0)
    }
}

#[derive(Debug)]
struct Job {
    number: u64,
    batch: DocumentBatch,
    weight: u64,
}

/// The threads and the way to them.
#[derive(Debug)]
struct Crew {
    jobs: SyncSender<Job>,
    threads: Vec<JoinHandle<Result<WordTable>>>,
    /// Bytes of all their tables.
    memory: Arc<AtomicUsize>,
}

impl Crew {
    fn new(pretokenizer: &Pretokenizer, kernel: Kernel, threads: usize) -> Self {
        let (jobs, queue) = sync_channel(threads);
        let queue = Arc::new(Mutex::new(queue));
        let memory = Arc::new(AtomicUsize::new(0));
        let start = |_| {
            let (pretokenizer, queue) = (pretokenizer.clone(), queue.clone());
            let memory = memory.clone();
            std::thread::spawn(move || work(&pretokenizer, kernel, &queue, &memory))
        };
        Self {
            jobs,
            threads: (0..threads).map(start).collect(),
            memory,
        }
    }

    fn finish(self) -> Result<Vec<WordTable>> {
        drop(self.jobs);
        let finished = self.threads.into_iter().map(|thread| {
            let finished = thread.join();
            finished.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        // All of them are waited for, whatever happened.
        let finished: Vec<Result<WordTable>> = finished.collect();
        finished.into_iter().collect()
    }
}

fn work(
    pretokenizer: &Pretokenizer,
    kernel: Kernel,
    queue: &Mutex<Receiver<Job>>,
    memory: &AtomicUsize,
) -> Result<WordTable> {
    let mut worker = Worker::new(kernel);
    let mut known = 0;
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            return Ok(worker.table);
        };
        worker.count(pretokenizer, job.number, job.batch.parts(), job.weight)?;
        let now = worker.table.memory();
        memory.fetch_add(now.wrapping_sub(known), Ordering::Relaxed);
        known = now;
    }
}

/// Counts the pre-tokens of `documents` on `threads` threads. The result does
/// not depend on their number: long documents are cut only where that changes
/// nothing, and words keep the places in which they stand in the documents.
pub fn count_documents(
    pretokenizer: &Pretokenizer,
    documents: &[&[u8]],
    threads: usize,
) -> Result<WordCounts> {
    let batches = batches(pretokenizer, documents);
    let threads = threads.clamp(1, batches.len().max(1));
    let next = AtomicUsize::new(0);
    let work = || -> Result<WordTable> {
        let mut worker = Worker::new(Kernel::best());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(batch) = batches.get(number) else {
                return Ok(worker.table);
            };
            worker.count(pretokenizer, number as u64, batch.iter().copied(), 1)?;
        }
    };
    let tables: Result<Vec<WordTable>> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = others.into_iter().map(|thread| {
            let finished = thread.join();
            finished.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        std::iter::once(own)
            .chain(others.collect::<Vec<_>>())
            .collect()
    });
    join(tables?, batches.len() as u64)
}

/// About this much text is handed out at once.
const BATCH: usize = 1 << 20;

fn batches<'t>(pretokenizer: &Pretokenizer, documents: &[&'t [u8]]) -> Vec<Vec<&'t [u8]>> {
    let mut batches = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut push = |part: &'t [u8], batches: &mut Vec<_>| {
        bytes += part.len() + 1;
        batch.push(part);
        if bytes >= BATCH {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
    };
    for mut rest in documents.iter().copied() {
        while rest.len() > BATCH
            && let Some(at) = pretokenizer.cuts().last(&rest[..BATCH])
        {
            let (part, after) = rest.split_at(at);
            push(part, &mut batches);
            rest = after;
        }
        push(rest, &mut batches);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}
