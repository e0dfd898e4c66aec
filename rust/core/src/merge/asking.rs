//! Whether to go on: asked as often as work is done, not as time passes.
//!
//! A piece may be a whole text of many megabytes. Whoever merges it says how much was done, and the
//! caller is asked after every [`EVERY`] of it, which is a few milliseconds of work.

use crate::{Error, Result};

/// Work between two questions: bytes laid out or merged, and entries taken from a heap.
pub(super) const EVERY: usize = 1 << 14;

/// Counts work and asks the caller now and then.
pub(super) struct Asking<'a> {
    go_on: &'a mut dyn FnMut() -> bool,
    work: usize,
}

impl<'a> Asking<'a> {
    pub(super) fn new(go_on: &'a mut dyn FnMut() -> bool) -> Self {
        Self { go_on, work: 0 }
    }

    /// Notes work; [`Error::Cancelled`] if the caller does not want more.
    #[inline]
    pub(super) fn worked(&mut self, work: usize) -> Result<()> {
        self.work += work;
        if self.work < EVERY {
            return Ok(());
        }
        self.work = 0;
        if (self.go_on)() {
            Ok(())
        } else {
            Err(Error::Cancelled)
        }
    }
}
