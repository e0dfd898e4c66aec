//! Threads that merge a pair in their shares of the records.
//!
//! Most of the work of training lies in the first thousand merges, each of which changes many words. For such a
//! merge a share of the records goes to each thread as a value, with the postings in it, and comes back
//! with what was born there. A thread that has just worked spins for a while before it sleeps, since the next
//! merge comes soon; and a share that no thread has taken up when the caller has done its own is taken back. So
//! threads that get no processor cost little.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use super::births::Births;
use super::linked::Linked;
use super::records::Records;
use super::symbol::Symbol;
use super::walk::Walk;
use crate::simd::Kernel;

/// How often a thread looks for work before it sleeps: some 50 µs.
const SPINS: usize = 1000;
/// After so many postings a thread looks whether to go on.
const BETWEEN_LOOKS: usize = 1 << 16;

/// A share of the records in which a pair is merged.
#[derive(Debug)]
pub(super) struct Task<S> {
    pub(super) kernel: Kernel,
    pub(super) records: Records<S>,
    pub(super) births: Births<S>,
    /// Where in these records.
    pub(super) postings: Vec<u32>,
    pub(super) pair: (S, S),
    pub(super) id: S,
}

impl<S: Symbol> Task<S> {
    fn run(&mut self, stopped: &AtomicBool) {
        for postings in self.postings.chunks(BETWEEN_LOOKS) {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            self.kernel.run(Walk {
                postings,
                next: &[],
                records: &mut self.records,
                linked: &mut Linked::new(),
                births: &mut self.births,
                pair: self.pair,
                id: self.id,
            });
        }
    }
}

/// The threads, which live as long as this.
#[derive(Debug)]
pub(super) struct Pool<S> {
    mailboxes: Vec<Arc<Mailbox<S>>>,
    threads: Vec<JoinHandle<()>>,
}

/// Where a thread takes its tasks from, and puts them when they are done.
#[derive(Debug)]
struct Mailbox<S> {
    task: Mutex<Option<Task<S>>>,
    has_task: AtomicBool,
    done: Mutex<Option<Task<S>>>,
    is_done: AtomicBool,
    /// No more tasks will come.
    closed: AtomicBool,
    /// The thread has ended; if nobody has closed the mailbox, by a panic.
    ended: AtomicBool,
    caller: Thread,
}

impl<S: Symbol> Mailbox<S> {
    fn new() -> Self {
        Self {
            task: Mutex::new(None),
            has_task: AtomicBool::new(false),
            done: Mutex::new(None),
            is_done: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            caller: thread::current(),
        }
    }

    /// The life of a thread.
    fn work(&self) {
        let _ended = Ended(&self.ended, &self.caller);
        loop {
            wait_for(|| {
                self.has_task.load(Ordering::Acquire) || self.closed.load(Ordering::Relaxed)
            });
            if self.closed.load(Ordering::Relaxed) {
                return;
            }
            self.has_task.store(false, Ordering::Relaxed);
            let Some(mut task) = lock(&self.task).take() else {
                continue; // it was taken back
            };
            task.run(&self.closed);
            *lock(&self.done) = Some(task);
            self.is_done.store(true, Ordering::Release);
            self.caller.unpark();
        }
    }
}

/// Says so when a thread ends, also by a panic.
struct Ended<'d>(&'d AtomicBool, &'d Thread);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        self.1.unpark();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever makes `is_true` true unparks this thread afterwards.
fn wait_for(is_true: impl Fn() -> bool) {
    for _ in 0..SPINS {
        if is_true() {
            return;
        }
        spin_loop();
    }
    while !is_true() {
        thread::park();
    }
}

impl<S: Symbol> Pool<S> {
    /// As many threads as the system gives, at most `threads`.
    pub(super) fn new(threads: usize) -> Self {
        let mut pool = Self {
            mailboxes: Vec::new(),
            threads: Vec::new(),
        };
        for _ in 0..threads {
            let mailbox = Arc::new(Mailbox::new());
            let theirs = mailbox.clone();
            let Ok(thread) = thread::Builder::new().spawn(move || theirs.work()) else {
                break; // the caller does what is left
            };
            pool.mailboxes.push(mailbox);
            pool.threads.push(thread);
        }
        pool
    }

    /// Has all tasks done, while the caller does `own`. They come back in their order.
    pub(super) fn run<E>(
        &self,
        tasks: Vec<Task<S>>,
        own: impl FnOnce() -> Result<(), E>,
    ) -> Result<Vec<Task<S>>, E> {
        let mut here = Vec::new();
        let mut given = 0;
        for task in tasks {
            let Some(mailbox) = self.mailboxes.get(given) else {
                here.push(task);
                continue;
            };
            *lock(&mailbox.task) = Some(task);
            mailbox.has_task.store(true, Ordering::Release);
            self.threads[given].thread().unpark();
            given += 1;
        }
        own()?;
        let never = AtomicBool::new(false);
        let mut done = Vec::new();
        for mailbox in &self.mailboxes[..given] {
            let taken_back = lock(&mailbox.task).take();
            if let Some(mut task) = taken_back {
                task.run(&never);
                done.push(task);
                continue;
            }
            wait_for(|| {
                mailbox.is_done.load(Ordering::Acquire) || mailbox.ended.load(Ordering::Acquire)
            });
            mailbox.is_done.store(false, Ordering::Relaxed);
            let task = lock(&mailbox.done).take();
            done.push(task.expect("a thread that merges has panicked"));
        }
        for mut task in here {
            task.run(&never);
            done.push(task);
        }
        Ok(done)
    }
}

impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        for (mailbox, thread) in self.mailboxes.iter().zip(&self.threads) {
            mailbox.closed.store(true, Ordering::Relaxed);
            thread.thread().unpark();
        }
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}
