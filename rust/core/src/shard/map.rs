//! A token file as memory, which may be cut off while it is read.
//!
//! A map is only ever copied from, or summed up byte by byte, so what another program writes into the file shows up in a
//! copy, which is checked before anybody gets it, and never behind a reference. Where the file has become shorter than the map, the
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
use super::sums::Sums;

/// All pages of a file but the last.
#[derive(Debug)]
pub(super) struct Map {
    watched: Watched, // dropped first: what is no longer mapped here may be mapped by others
    map: Mmap,
}

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    HereAndThere,
    InOrder,
}

/// What a processor fetches at once.
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;

/// The file is shorter than its map.
#[derive(Debug)]
pub(super) struct CutOff;

impl Map {
    /// Maps a file of `length` bytes, of which rows are read here and there.
    ///
    /// A row is a page or two, and reading ahead for each would read a hundred times as much from a cold disk.
    pub(super) fn for_rows(file: &File, length: u64) -> Option<Self> {
        Self::new(file, length, Access::HereAndThere)
    }

    /// Maps a file of `length` bytes that is read from its beginning to its end.
    pub(super) fn for_all(file: &File, length: u64) -> Option<Self> {
        Self::new(file, length, Access::InOrder)
    }

    /// None where that cannot be done, or does not pay.
    fn new(file: &File, length: u64, access: Access) -> Option<Self> {
        let page = page_bytes()?;
        let length = usize::try_from(length).ok()?;
        let mapped = (length.max(1) - 1) / page * page;
        if mapped == 0 {
            return None;
        }
        // SAFETY: no reference to the bytes is ever made; `read` hands out a pointer.
        let map = unsafe { MmapOptions::new().len(mapped).map(file) }.ok()?;
        // The other systems are not asked, and a system that refuses reads all the same.
        #[cfg(unix)]
        let _ = map.advise(match access {
            Access::HereAndThere => memmap2::Advice::Random,
            Access::InOrder => memmap2::Advice::Sequential,
        });
        #[cfg(not(unix))]
        let _ = access;
        let watched = Watched::new(map.as_ptr() as usize, mapped)?;
        Some(Self { watched, map })
    }

    /// Whether the bytes in front of `end` are in the map.
    pub(super) fn holds(&self, end: u64) -> bool {
        end <= self.map.len() as u64
    }

    /// Copies the bytes from `begin` on, which must be in the map. After an error `out` holds anything.
    pub(super) fn copy(&self, begin: u64, out: &mut [u8]) -> Result<(), CutOff> {
        self.read(begin, out.len(), |from| {
            // SAFETY: `read` vouches for the bytes, and `out` is memory of our own.
            unsafe { std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len()) }
        })
    }

    /// Lets the processor fetch `count` bytes from `begin` on, which must be in the map, before they are copied. It promises nothing.
    pub(super) fn prefetch(&self, begin: u64, count: usize) {
        let begin = begin as usize;
        assert!(begin <= self.map.len() && count <= self.map.len() - begin);
        #[cfg(target_arch = "x86_64")]
        for line in (0..count).step_by(LINE_BYTES) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: the place lies in the map, as was just asserted; fetching what is missing from the file does nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.map.as_ptr().add(begin + line).cast()) };
        }
    }

    /// Adds `count` bytes from `begin` on, which must be in the map, to checksums; each byte is read once. After an
    /// error the checksums are those of anything.
    pub(super) fn sum(&self, begin: u64, count: usize, sums: &mut Sums) -> Result<(), CutOff> {
        self.read(begin, count, |from| {
            // SAFETY: `read` vouches for the bytes.
            unsafe { sums.update_raw(from, count) }
        })
    }

    /// Calls `body` with a pointer to `count` bytes that can be read, and that others may change meanwhile.
    fn read(&self, begin: u64, count: usize, body: impl FnOnce(*const u8)) -> Result<(), CutOff> {
        let begin = begin as usize;
        assert!(begin <= self.map.len() && count <= self.map.len() - begin);
        let first = self.map.as_ptr();
        // SAFETY: the range lies in the map, as was just asserted. Bytes that are missing from the file are zeros by
        // the time the read is repeated.
        unsafe {
            body(first.add(begin));
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
