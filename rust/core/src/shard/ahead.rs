//! Batches that are ready before they are asked for.
//!
//! Which batch comes next is known, so threads fill it while the caller computes: exactly the next `depth` ones, into buffers that
//! are used again. No thread is started before the first batch is asked for. A process that was forked has none of its parent's
//! threads, and the parent's locks may be held for ever there: [`Ahead::next`] notices that it is in another process, leaves
//! what it had alone and starts anew at the same place.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::fill::{self, Plan};
use super::reader::Id;
use crate::{Error, Result};

/// Which batches, and how they are made.
#[derive(Debug, Clone, Copy)]
pub struct AheadOptions {
    /// The first sample of the first batch.
    pub first: u64,
    /// Samples from the first of one batch to the first of the next.
    pub step: u64,
    /// Samples per batch.
    pub rows: usize,
    /// How many batches there are; nothing for any number.
    pub batches: Option<u64>,
    /// Batches that are made before they are asked for, at least 1.
    pub depth: u64,
    /// Threads that make them, at least 1.
    pub threads: usize,
}

/// Inputs and targets of a batch, (rows, sequence length) each.
#[derive(Debug, Default)]
pub struct Buffers<T> {
    /// The inputs.
    pub inputs: Vec<T>,
    /// The targets.
    pub targets: Vec<T>,
}

/// Buffers to be used again.
#[derive(Debug)]
pub struct Spare<T>(Mutex<Vec<Buffers<T>>>);

impl<T> Spare<T> {
    /// Gives buffers back. They are freed when somebody else is at it, so that nobody waits.
    pub fn give(&self, buffers: Buffers<T>) {
        if let Ok(mut spare) = self.0.try_lock() {
            spare.push(buffers);
        }
    }

    fn take(&self) -> Option<Buffers<T>> {
        self.0.try_lock().ok()?.pop()
    }
}

/// A stream of batches; one caller at a time.
#[derive(Debug)]
pub struct Ahead<T: Id + 'static> {
    plan: Arc<dyn Plan>,
    options: AheadOptions,
    next: u64,
    process: u32,
    crew: Option<Crew<T>>,
    spare: Arc<Spare<T>>,
}

/// What is known after waiting for a batch.
#[derive(Debug)]
pub enum Waited<T> {
    /// It is here.
    Batch(Buffers<T>),
    /// It takes longer.
    NotYet,
    /// There are no more.
    End,
}

#[derive(Debug)]
struct Crew<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// Told when there is a batch to make.
    work: Condvar,
    /// Told when a batch is made.
    made: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// The batch that the next free thread makes.
    claimed: u64,
    /// Batches below this one may be made.
    wanted: u64,
    made: BTreeMap<u64, Result<Buffers<T>>>,
    stop: bool,
}

impl<T: Id + 'static> Ahead<T> {
    /// A stream that begins with the first batch; nothing is done yet.
    pub fn new(plan: Arc<dyn Plan>, options: AheadOptions) -> Result<Self> {
        let limits = [
            ("ahead", options.depth, 1..=1 << 16),
            ("threads", options.threads as u64, 1..=1 << 10),
            ("batch_size", options.rows as u64, 1..=1 << 32),
        ];
        for (name, found, range) in limits {
            if !range.contains(&found) {
                return Err(Error::ShardArgument {
                    name,
                    found: found.to_string(),
                    expected: format!("{} to {}", range.start(), range.end()),
                });
            }
        }
        Ok(Self {
            plan,
            options,
            next: 0,
            process: std::process::id(),
            crew: None,
            spare: Arc::new(Spare(Mutex::new(Vec::new()))),
        })
    }

    /// Where buffers go that the caller is done with.
    pub fn spare(&self) -> &Arc<Spare<T>> {
        &self.spare
    }

    /// The next batch, waited for at most so long. After an error the same batch is tried again.
    pub fn next(&mut self, patience: Duration) -> Result<Waited<T>> {
        if self.options.batches.is_some_and(|count| self.next >= count) {
            self.stop();
            return Ok(Waited::End);
        }
        if self.process != std::process::id() {
            std::mem::forget(self.crew.take()); // its locks and threads are the parent's
            self.spare = Arc::new(Spare(Mutex::new(Vec::new())));
            self.process = std::process::id();
        }
        let crew = match &mut self.crew {
            Some(crew) => crew,
            none => none.insert(Crew::start(
                &self.plan,
                self.options,
                self.next,
                &self.spare,
            )?),
        };
        let number = self.next;
        let made = match crew.shared.wait(number, patience) {
            Some(made) => made,
            // Threads end when they are told to. One that did not has met a bug, which shows here.
            None if crew.threads.iter().any(JoinHandle::is_finished) => {
                make(&*self.plan, self.options, number, &self.spare)
            }
            None => return Ok(Waited::NotYet),
        };
        match made {
            Ok(buffers) => {
                self.next += 1;
                crew.shared.want(self.options.limit(self.next));
                Ok(Waited::Batch(buffers))
            }
            Err(error) => {
                self.stop();
                Err(error)
            }
        }
    }

    /// Ends the threads; the next batch starts new ones.
    pub fn stop(&mut self) {
        if self.process == std::process::id() {
            drop(self.crew.take());
        } else {
            std::mem::forget(self.crew.take());
        }
    }
}

impl<T: Id + 'static> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl AheadOptions {
    /// Batches below this one may be made while batch `next` is waited for.
    fn limit(&self, next: u64) -> u64 {
        let limit = next.saturating_add(self.depth);
        self.batches.map_or(limit, |count| limit.min(count))
    }
}

impl<T: Id + 'static> Crew<T> {
    fn start(
        plan: &Arc<dyn Plan>,
        options: AheadOptions,
        next: u64,
        spare: &Arc<Spare<T>>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                claimed: next,
                wanted: options.limit(next),
                made: BTreeMap::new(),
                stop: false,
            }),
            work: Condvar::new(),
            made: Condvar::new(),
        });
        let mut crew = Self {
            shared,
            threads: Vec::new(),
        };
        for _ in 0..options.threads {
            let (plan, shared, spare) = (plan.clone(), crew.shared.clone(), spare.clone());
            let work = move || {
                while let Some(number) = shared.claim() {
                    shared.deliver(number, make(&*plan, options, number, &spare));
                }
            };
            let thread = std::thread::Builder::new().name("gptbpe-batches".into());
            match thread.spawn(work) {
                Ok(thread) => crew.threads.push(thread),
                Err(_) if !crew.threads.is_empty() => break, // fewer will do
                Err(source) => {
                    return Err(Error::Io {
                        action: "start a thread for",
                        path: "batches".into(),
                        source,
                    });
                }
            }
        }
        Ok(crew)
    }
}

impl<T> Drop for Crew<T> {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a panic there was a batch that never came; nobody waits for it now
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a batch to make; nothing when it is time to end.
    fn claim(&self) -> Option<u64> {
        let idle = |state: &mut State<T>| !state.stop && state.claimed >= state.wanted;
        let waited = self.work.wait_while(self.lock(), idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.stop {
            return None;
        }
        state.claimed += 1;
        Some(state.claimed - 1)
    }

    fn deliver(&self, number: u64, batch: Result<Buffers<T>>) {
        self.lock().made.insert(number, batch);
        self.made.notify_all();
    }

    fn wait(&self, number: u64, patience: Duration) -> Option<Result<Buffers<T>>> {
        let missing = |state: &mut State<T>| !state.made.contains_key(&number);
        let waited = self.made.wait_timeout_while(self.lock(), patience, missing);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.made.remove(&number)
    }

    fn want(&self, wanted: u64) {
        self.lock().wanted = wanted;
        self.work.notify_one();
    }
}

fn make<T: Id>(
    plan: &dyn Plan,
    options: AheadOptions,
    number: u64,
    spare: &Spare<T>,
) -> Result<Buffers<T>> {
    let size = options.rows * plan.sequence_length() as usize;
    let mut buffers = spare.take().unwrap_or_default();
    for buffer in [&mut buffers.inputs, &mut buffers.targets] {
        buffer.resize(size, T::default());
    }
    let step = options.step.saturating_mul(number);
    let first = options.first.saturating_add(step);
    fill::fill(plan, first, &mut buffers.inputs, &mut buffers.targets, None)?;
    Ok(buffers)
}
