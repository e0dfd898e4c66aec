//! Ctrl-C while the core works: the thread that called looks for signals now and then.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// How often a long computation looks for signals and reports progress.
pub(crate) const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Asks Python for pending signals from a computation that runs on several threads without the GIL.
pub(crate) struct Signals {
    caller: ThreadId,
    /// What the caller found, for the other threads.
    stopped: AtomicBool,
    state: Mutex<State>,
}

struct State {
    last: Instant,
    error: Option<PyErr>,
}

impl Signals {
    /// For a computation that the current thread begins now.
    pub(crate) fn new() -> Self {
        Self {
            caller: thread::current().id(),
            stopped: AtomicBool::new(false),
            state: Mutex::new(State {
                last: Instant::now(),
                error: None,
            }),
        }
    }

    /// Whether to go on. Only the thread that called can look (Python hears signals on its main thread alone), so no
    /// other ever takes the lock.
    pub(crate) fn go_on(&self) -> bool {
        if thread::current().id() != self.caller {
            return !self.stopped.load(Ordering::Relaxed);
        }
        let Ok(mut state) = self.state.lock() else {
            return false;
        };
        let now = Instant::now();
        if now - state.last >= BETWEEN_LOOKS {
            state.last = now;
            state.error = Python::attach(look).err();
            self.stopped.store(state.error.is_some(), Ordering::Relaxed);
        }
        state.error.is_none()
    }

    /// Raises what a signal handler raised.
    pub(crate) fn end(self) -> PyResult<()> {
        let error = self.state.into_inner().ok().and_then(|state| state.error);
        error.map_or(Ok(()), Err)
    }
}

/// Ends what several threads work on: a thread that is not the main one hears of Ctrl-C by it.
#[pyclass(module = "gptbpe._core", frozen)]
pub(crate) struct Cancel(AtomicBool);

#[pymethods]
impl Cancel {
    #[new]
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    #[getter]
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn look(py: Python<'_>) -> PyResult<()> {
    py.check_signals()
}
