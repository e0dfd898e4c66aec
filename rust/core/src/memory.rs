//! Memory for large tables and results.
//!
//! A page that is touched for the first time costs a fault, and a table that is read at random
//! costs a walk through the page tables for almost every read. Both are cheaper with
//! pages of 2 MiB, which Linux gives where a program asks for them before it touches
//! the memory. [`Table`] asks for them, and [`reserve`] does for a growing result.
//!
//! Asking for more than there is is an error here, not the end of the process.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, PoisonError};
use std::thread;

use memmap2::MmapMut;

use crate::simd::{Bucket, PairLine, SLACK, Simd, Token};
use crate::{Error, Result};

/// The size of a huge page on x86-64 and most ARM systems.
const HUGE_PAGE: usize = 2 << 20;
/// Smaller tables are ordinary memory.
const WORTH_MAPPING: usize = HUGE_PAGE / 4;
/// Values are appended in blocks, and room for a whole block is asked for before it is known how
/// many of its values there are. No block is larger.
const LARGEST_BLOCK: usize = 1 << 16;

/// Types of which a value of all zero bits is valid.
///
/// # Safety
///
/// An implementor promises just that.
pub(crate) unsafe trait Plain: Copy {
    /// All bits zero.
    const ZERO: Self;
}

// SAFETY: a struct of numbers.
unsafe impl Plain for Bucket {
    const ZERO: Self = Self::EMPTY;
}
// SAFETY: an array of numbers.
unsafe impl Plain for PairLine {
    const ZERO: Self = Self([0; 8]);
}
// SAFETY: a number.
unsafe impl Plain for u16 {
    const ZERO: Self = 0;
}
// SAFETY: a number.
unsafe impl Plain for u32 {
    const ZERO: Self = 0;
}
// SAFETY: an array of numbers.
unsafe impl Plain for [u64; 2] {
    const ZERO: Self = [0; 2];
}

/// A slice of fixed length, zero at first, in huge pages where that pays.
#[derive(Debug)]
pub(crate) struct Table<T> {
    store: Store<T>,
}

#[derive(Debug)]
enum Store<T> {
    Owned(Box<[T]>),
    /// `length` values from byte `start`, which is a multiple of [`HUGE_PAGE`] in memory.
    Mapped {
        map: MmapMut,
        start: usize,
        length: usize,
    },
}

impl<T: Plain> Table<T> {
    /// `length` values of zero bits, or an error where there is no memory for them.
    pub(crate) fn try_zeroed(length: usize) -> Result<Self> {
        if let Some(store) = mapped(length) {
            return Ok(Self { store });
        }
        let mut values = Vec::new();
        reserve(&mut values, length)?;
        values.resize(length, T::ZERO);
        let store = Store::Owned(values.into());
        Ok(Self { store })
    }

    /// `length` values of zero bits, for tables that are small or needed in any case.
    pub(crate) fn zeroed(length: usize) -> Self {
        let owned = || Store::Owned(vec![T::ZERO; length].into());
        Self {
            store: mapped(length).unwrap_or_else(owned),
        }
    }
}

impl Table<u32> {
    /// The same values, for several threads that write.
    pub(crate) fn as_atomic(&mut self) -> &[AtomicU32] {
        const { assert!(align_of::<AtomicU32>() == align_of::<u32>()) };
        let values = &mut **self;
        // SAFETY: an atomic number has the size and the bits of a number, and the alignment too; nobody else
        // uses the values while they are borrowed for writing.
        unsafe { std::slice::from_raw_parts(values.as_mut_ptr().cast(), values.len()) }
    }
}

/// A mapping, where that pays and can be had.
fn mapped<T: Plain>(length: usize) -> Option<Store<T>> {
    const { assert!(align_of::<T>() <= HUGE_PAGE) };
    if length * size_of::<T>() < WORTH_MAPPING {
        return None;
    }
    let bytes = (length * size_of::<T>()).next_multiple_of(HUGE_PAGE);
    let map = MmapMut::map_anon(bytes + HUGE_PAGE).ok()?;
    let address = map.as_ptr() as usize;
    let start = address.next_multiple_of(HUGE_PAGE) - address;
    // Without huge pages the table is slower, and right.
    #[cfg(target_os = "linux")]
    map.advise_range(memmap2::Advice::HugePage, start, bytes)
        .ok();
    Some(Store::Mapped { map, start, length })
}

impl<T: Plain> Deref for Table<T> {
    type Target = [T];

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn deref(&self) -> &[T] {
        match &self.store {
            Store::Owned(values) => values,
            Store::Mapped { map, start, length } => {
                // SAFETY: `mapped` made the mapping large enough for `length` values from
                // `start`, which is aligned; zero bits are values, and nobody else writes.
                unsafe { std::slice::from_raw_parts(map.as_ptr().add(*start).cast(), *length) }
            }
        }
    }
}

impl<T: Plain> DerefMut for Table<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.store {
            Store::Owned(values) => values,
            Store::Mapped { map, start, length } => {
                // SAFETY: as in `deref`; `self` is borrowed for writing.
                unsafe {
                    std::slice::from_raw_parts_mut(map.as_mut_ptr().add(*start).cast(), *length)
                }
            }
        }
    }
}

/// Makes room for `more` values at the end of `values`.
pub(crate) fn reserve<T>(values: &mut Vec<T>, more: usize) -> Result<()> {
    if values.capacity() - values.len() >= more {
        return Ok(());
    }
    grow(values, more)
}

#[cold]
fn grow<T>(values: &mut Vec<T>, more: usize) -> Result<()> {
    let size = size_of::<T>().max(1);
    values.try_reserve(more).map_err(|_| Error::OutOfMemory {
        bytes: (values.len() + more).saturating_mul(size),
    })?;
    if values.capacity() * size >= 2 * HUGE_PAGE {
        prefer_huge_pages(values.spare_capacity_mut());
    }
    Ok(())
}

/// Makes room for a result of about `likely` values and at most `most`.
///
/// Where that is much, it is room for `most`: pages that are never touched cost nothing, and
/// a result that has to move as it grows costs a good part of making it.
pub(crate) fn expect<T>(values: &mut Vec<T>, likely: usize, most: usize) -> Result<()> {
    let much = most.saturating_mul(size_of::<T>()) >= 2 * HUGE_PAGE;
    let room = most.saturating_add(LARGEST_BLOCK);
    if much && values.try_reserve_exact(room).is_ok() {
        prefer_huge_pages(values.spare_capacity_mut());
        return Ok(());
    }
    reserve(values, likely)
}

/// Asks for huge pages in the whole ones that lie in `room`.
fn prefer_huge_pages<T>(room: &mut [MaybeUninit<T>]) {
    #[cfg(target_os = "linux")]
    {
        let start = room.as_mut_ptr() as usize;
        let end = (start + size_of_val(room)) / HUGE_PAGE * HUGE_PAGE;
        let start = start.next_multiple_of(HUGE_PAGE);
        if start < end {
            // SAFETY: these pages belong to `room`; the advice changes no contents.
            unsafe {
                libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE);
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = room;
}

/// Appends the tokens in `lanes`.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(crate) fn append_tokens<K: Simd, T: Token>(
    kernel: K,
    lanes: &[u64],
    tokens: &mut Vec<T>,
) -> Result<()> {
    let most = T::LANES * lanes.len();
    reserve(tokens, most + SLACK)?;
    let written = T::emit(kernel, lanes, tokens.spare_capacity_mut());
    assert!(written <= most);
    // SAFETY: there is room for `most`, and `emit` initialises as many as it says.
    unsafe { tokens.set_len(tokens.len() + written) };
    Ok(())
}

/// Appends the first `count` of `values`, at most all: a copy of fixed length costs no branch.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(crate) fn append_some<T: Copy, const N: usize>(
    values: &[T; N],
    count: usize,
    all: &mut Vec<T>,
) -> Result<()> {
    reserve(all, N)?;
    let room = all.spare_capacity_mut().iter_mut();
    for (place, &value) in room.zip(values) {
        place.write(value);
    }
    // SAFETY: there is room for `N`, and so many were written.
    unsafe { all.set_len(all.len() + count.min(N)) };
    Ok(())
}

/// All values of `parts` in their order, copied by `threads` threads.
pub(crate) fn join<T: Copy + Send + Sync>(parts: &[Vec<T>], threads: usize) -> Result<Vec<T>> {
    let total = parts.iter().map(Vec::len).sum();
    let mut all = Vec::new();
    grow(&mut all, total)?;
    let mut room = &mut all.spare_capacity_mut()[..total];
    let mut copies = Vec::with_capacity(parts.len());
    for part in parts {
        let (here, rest) = std::mem::take(&mut room).split_at_mut(part.len());
        copies.push((part, here));
        room = rest;
    }
    let share = copies.len().div_ceil(threads.max(1)).max(1);
    let shares = Mutex::new(copies.chunks_mut(share));
    let next = || {
        let mut shares = shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.next()
    };
    let work = || {
        while let Some(share) = next() {
            copy(share);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(parts.len()) {
            // Where the system has no more threads, those that there are copy all the shares.
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    // SAFETY: the parts fill the room exactly, and each was copied.
    unsafe { all.set_len(total) };
    Ok(all)
}

fn copy<T: Copy>(copies: &mut [(&Vec<T>, &mut [MaybeUninit<T>])]) {
    for (part, room) in copies {
        for (place, value) in room.iter_mut().zip(*part) {
            place.write(*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_zero_and_keep_what_is_written() {
        for length in [0, 1, 1000, WORTH_MAPPING, 3 * HUGE_PAGE + 1] {
            let mut table = Table::<u32>::zeroed(length);
            assert_eq!(table.len(), length);
            assert!(table.iter().all(|&value| value == 0));
            for (at, value) in table.iter_mut().enumerate() {
                *value = at as u32;
            }
            assert!(
                table
                    .iter()
                    .enumerate()
                    .all(|(at, &value)| value == at as u32)
            );
        }
    }

    #[test]
    fn several_threads_write_into_one_table() {
        let mut table = Table::<u32>::zeroed(1000);
        let values = table.as_atomic();
        thread::scope(|scope| {
            for number in 0..3 {
                scope.spawn(move || {
                    for (at, value) in values.iter().enumerate().skip(number).step_by(3) {
                        value.store(at as u32, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(table.iter().copied().eq(0..1000));
    }

    #[test]
    fn parts_are_joined_in_order() {
        let parts: Vec<Vec<u32>> = (0..50).map(|part| (0..part * 7).collect()).collect();
        for threads in [1, 2, 7, 100] {
            assert_eq!(join(&parts, threads).unwrap(), parts.concat());
        }
        assert!(join::<u8>(&[], 2).unwrap().is_empty());
    }

    #[test]
    fn some_of_a_few_are_appended() {
        let mut all = vec![9_u16];
        append_some(&[1, 2, 3, 4], 0, &mut all).unwrap();
        append_some(&[1, 2, 3, 4], 3, &mut all).unwrap();
        append_some(&[5, 6], 2, &mut all).unwrap();
        assert_eq!(all, [9, 1, 2, 3, 5, 6]);
    }

    #[test]
    fn too_much_is_an_error() {
        let error = reserve(&mut vec![1_u64], usize::MAX / 16).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    }
}
