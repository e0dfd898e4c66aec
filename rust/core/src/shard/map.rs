//! A token file as memory, which may be cut off while it is read.
//!
//! A map is only ever copied from, so what another program writes into the file shows up in a copy, which is checked
//! before anybody gets it, and never behind a reference. Where the file has become shorter than the map, the
//! system sends SIGBUS to the thread that touches what is missing. [`fault`](super::fault) puts zeros there and notes it,
//! and the copy is an error.
//!
//! The page in which the file now ends reads as zeros behind the end, without a signal. So every copy touches
//! the last page of the map afterwards: it is missing whenever an earlier page is incomplete. What lies in
//! the last page itself is not mapped.

#![allow(unsafe_code)]

use std::fs::File;
use std::sync::atomic::{Ordering, fence};

use memmap2::{Mmap, MmapOptions};

use super::fault::{Watched, page_bytes};

/// All pages of a file but the last.
#[derive(Debug)]
pub(super) struct Map {
    watched: Watched, // dropped first: what is no longer mapped here may be mapped by others
    map: Mmap,
}

/// The file is shorter than its map.
#[derive(Debug)]
pub(super) struct CutOff;

impl Map {
    /// Maps a file of `length` bytes; None where that cannot be done, or does not pay.
    pub(super) fn new(file: &File, length: u64) -> Option<Self> {
        let page = page_bytes()?;
        let length = usize::try_from(length).ok()?;
        let mapped = (length.max(1) - 1) / page * page;
        if mapped == 0 {
            return None;
        }
        // SAFETY: no reference to the bytes is ever made; `copy` reads them through a pointer.
        let map = unsafe { MmapOptions::new().len(mapped).map(file) }.ok()?;
        // A row is a page or two, and reading ahead for each would read a hundred times as much from a cold disk.
        #[cfg(unix)]
        let _ = map.advise(memmap2::Advice::Random);
        let watched = Watched::new(map.as_ptr() as usize, mapped)?;
        Some(Self { watched, map })
    }

    /// Whether the bytes in front of `end` are in the map.
    pub(super) fn holds(&self, end: u64) -> bool {
        end <= self.map.len() as u64
    }

    /// Copies the bytes from `begin` on, which must be in the map. After an error `out` holds anything.
    pub(super) fn copy(&self, begin: u64, out: &mut [u8]) -> Result<(), CutOff> {
        let begin = begin as usize;
        assert!(begin <= self.map.len() && out.len() <= self.map.len() - begin);
        let first = self.map.as_ptr();
        // SAFETY: the range lies in the map, as was just asserted, and `out` is memory of our own. Bytes that are
        // missing from the file are zeros by the time the read is repeated.
        unsafe {
            std::ptr::copy_nonoverlapping(first.add(begin), out.as_mut_ptr(), out.len());
            first.add(self.map.len() - 1).read_volatile();
        }
        fence(Ordering::Acquire);
        if self.watched.is_cut() {
            Err(CutOff)
        } else {
            Ok(())
        }
    }
}
