//! Threads that count batches as they come.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::GoOn;
use super::table::WordTable;
use super::worker::Worker;
use crate::documents::DocumentBatch;
use crate::scan::Pretokenizer;
use crate::simd::Kernel;
use crate::{Error, Result};

/// Who waits for the threads asks so often whether to go on.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// A batch to be counted.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) batch: DocumentBatch,
    pub(super) weight: u64,
}

/// The threads, which live as long as this.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A job has come, or no more will.
    work: Condvar,
    /// A job was taken or is done.
    progress: Condvar,
    /// A worker belongs to its thread while that counts, and to the caller when no job is left.
    workers: Vec<Mutex<Worker>>,
    /// Bytes of all tables.
    memory: AtomicUsize,
    /// Nobody wants the counts any more.
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Jobs that were taken and are not done.
    running: usize,
    closed: bool,
    error: Option<Error>,
    /// A thread has panicked, and its job is lost.
    panicked: bool,
}

impl State {
    /// What a thread failed with. The jobs that wait are dropped.
    fn failure(&mut self) -> Result<()> {
        assert!(!self.panicked, "a thread that counts has panicked");
        match self.error.take() {
            None => Ok(()),
            Some(error) => {
                self.jobs.clear();
                Err(error)
            }
        }
    }

    fn has_failed(&self) -> bool {
        self.error.is_some() || self.panicked
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_ready`, or a thread fails, or `go_on` stops it.
    fn wait_until<'s>(
        &'s self,
        go_on: GoOn<'_>,
        is_ready: impl Fn(&State) -> bool,
    ) -> Result<MutexGuard<'s, State>> {
        let mut state = self.lock();
        while !is_ready(&state) {
            let waited = self.progress.wait_timeout(state, BETWEEN_LOOKS);
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                // It may take long, and the threads go on meanwhile.
                drop(state);
                if go_on().is_break() {
                    self.stopped.store(true, Ordering::Relaxed);
                    return Err(Error::Cancelled);
                }
                state = self.lock();
            }
        }
        state.failure()?;
        Ok(state)
    }
}

impl Pool {
    /// As many threads as the system gives, at most `threads`; none if it gives none.
    pub(super) fn new(pretokenizer: &Pretokenizer, kernel: Kernel, threads: usize) -> Option<Self> {
        let workers = (0..threads).map(|_| Mutex::new(Worker::new(kernel)));
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
            workers: workers.collect(),
            memory: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let start = |index: usize| {
            let (shared, pretokenizer) = (shared.clone(), pretokenizer.clone());
            let work = move || work(&shared, &shared.workers[index], &pretokenizer);
            thread::Builder::new().spawn(work).ok()
        };
        let threads: Vec<_> = (0..threads).map_while(start).collect();
        (!threads.is_empty()).then_some(Self { shared, threads })
    }

    /// Hands a batch on, when a thread is nearly ready for it. The error may be that of an earlier batch.
    pub(super) fn count(&self, job: Job, go_on: GoOn<'_>) -> Result<()> {
        let threads = self.threads.len();
        let has_room = |state: &State| state.jobs.len() < threads || state.has_failed();
        let mut state = self.shared.wait_until(go_on, has_room)?;
        state.jobs.push_back(job);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Waits until all is counted, and puts new tables in place of the present ones.
    pub(super) fn take(
        &self,
        fresh: impl Fn() -> WordTable,
        go_on: GoOn<'_>,
    ) -> Result<Vec<WordTable>> {
        let _state = self.shared.wait_until(go_on, |state| {
            state.running == 0 && (state.jobs.is_empty() || state.has_failed())
        })?;
        let workers = self.shared.workers.iter();
        let tables = workers.map(|worker| {
            let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut worker.table, fresh())
        });
        self.shared.memory.store(0, Ordering::Relaxed);
        Ok(tables.collect())
    }

    /// About how many bytes the tables take.
    pub(super) fn memory(&self) -> usize {
        self.shared.memory.load(Ordering::Relaxed)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let mut state = self.shared.lock();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            thread.join().ok(); // who asked for the counts has heard of a panic
        }
    }
}

/// The life of a thread.
fn work(shared: &Shared, worker: &Mutex<Worker>, pretokenizer: &Pretokenizer) {
    loop {
        let mut state = shared.lock();
        let job = loop {
            if let Some(job) = state.jobs.pop_front() {
                break job;
            }
            if state.closed {
                return;
            }
            let waited = shared.work.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        };
        state.running += 1;
        drop(state);
        shared.progress.notify_all();
        let done = Done(shared);
        let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = worker.table.memory();
        let go_on: GoOn<'_> = &mut || {
            if shared.stopped.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let texts = job.batch.parts();
        let counted = worker.count(pretokenizer, job.number, texts, job.weight, go_on);
        let more = worker.table.memory().wrapping_sub(before);
        shared.memory.fetch_add(more, Ordering::Relaxed);
        if let Err(error) = counted {
            shared.lock().error.get_or_insert(error);
        }
        drop((worker, job, done));
    }
}

/// Notes the end of a job, also where that is a panic.
struct Done<'s>(&'s Shared);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        state.panicked |= thread::panicking();
        drop(state);
        self.0.progress.notify_all();
    }
}
