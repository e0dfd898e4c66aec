//! The kernel for every machine: plain Rust, except for the masks of bytes, which are
//! made with SSE2 on x86-64. It is the slow twin of the others.

#[cfg(target_arch = "x86_64")]
pub(super) mod sse2;
#[cfg(any(test, not(target_arch = "x86_64")))]
pub(super) mod swar;

use std::hint::select_unpredictable;
use std::mem::MaybeUninit;

use super::bucket::{BUCKET_BITS, Bucket, Hasher, Key, LONGEST_KEY, NOT_A_KEY, PADDING, Value};
use super::merge::Rows;
use super::{BLOCK, Simd};
#[cfg(target_arch = "x86_64")]
use sse2::Bytes;
#[cfg(not(target_arch = "x86_64"))]
use swar::Bytes;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

impl super::windows::Windows for Portable {}

impl Simd for Portable {
    type Block = Bytes;

    #[inline(always)]
    fn load(self, bytes: &[u8; BLOCK]) -> Bytes {
        Bytes::load(bytes)
    }

    #[inline(always)]
    fn equal(self, block: Bytes, byte: u8) -> u64 {
        block.equal(byte)
    }

    #[inline(always)]
    fn within(self, block: Bytes, first: u8, last: u8) -> u64 {
        block.within(first, last)
    }

    #[inline(always)]
    fn letters(self, block: Bytes) -> u64 {
        block.letters()
    }

    #[inline(always)]
    fn high(self, block: Bytes) -> u64 {
        block.high()
    }

    #[inline(always)]
    fn continuations(self, block: Bytes) -> u64 {
        block.continuations()
    }

    #[inline(always)]
    fn positions(self, mask: u64, base: u32, out: &mut [u32; BLOCK]) -> usize {
        positions(mask, base, out)
    }

    #[inline(always)]
    fn keys<'t>(
        self,
        text: &[u8],
        window: impl Fn(usize) -> &'t [u8; BLOCK],
        starts: &[u32],
        hasher: Hasher,
        buckets: &[Bucket],
        keys: &mut [Key],
        slots: &mut [u32],
    ) {
        keys_one_by_one(self, text, window, starts, hasher, keys, slots);
        for &slot in slots.iter() {
            self.fetch(buckets.as_ptr().wrapping_byte_add(slot as usize).cast());
        }
    }

    #[inline(always)]
    fn fetch(self, address: *const u8) {
        // SAFETY: these instructions are part of every such machine, and none of them faults.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(address.cast());
        }
        #[cfg(target_arch = "aarch64")]
        unsafe {
            std::arch::asm!(
                "prfm pldl1keep, [{address}]",
                address = in(reg) address,
                options(nostack, preserves_flags, readonly)
            );
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = address;
    }

    #[inline(always)]
    fn probe(self, buckets: &[Bucket], keys: &[Key], slots: &[u32], values: &mut [u64]) {
        for ((&key, &slot), value) in keys.iter().zip(slots).zip(values) {
            let number = slot as usize >> BUCKET_BITS;
            *value = buckets[number & (buckets.len() - 1)].get(key).0;
        }
    }

    #[inline(always)]
    fn sort_out<const NARROW: bool>(self, values: &mut [u64], others: &mut [u32]) -> usize {
        sort_out::<NARROW>(values, 0, others)
    }

    #[inline(always)]
    fn emit_narrow(self, lanes: &[u64], out: &mut [MaybeUninit<u16>]) -> usize {
        emit_narrow(lanes, out)
    }

    #[inline(always)]
    fn emit_wide(self, lanes: &[u64], out: &mut [MaybeUninit<u32>]) -> usize {
        emit_wide(lanes, out)
    }
}

impl Rows for Portable {}

/// [`Simd::positions`] eight at a time: most blocks of text have between eight and sixteen.
#[inline(always)]
pub(super) fn positions(mut mask: u64, base: u32, out: &mut [u32; BLOCK]) -> usize {
    let count = mask.count_ones() as usize;
    let (eights, _) = out.as_chunks_mut::<8>();
    for eight in eights.iter_mut().take(count.div_ceil(8)) {
        for place in eight {
            *place = base.wrapping_add(mask.trailing_zeros());
            mask &= mask.wrapping_sub(1);
        }
    }
    count
}

/// [`Simd::keys`], but for fetching the buckets.
#[inline(always)]
pub(super) fn keys_one_by_one<'t, K: Simd>(
    kernel: K,
    text: &[u8],
    window: impl Fn(usize) -> &'t [u8; BLOCK],
    starts: &[u32],
    hasher: Hasher,
    keys: &mut [Key],
    slots: &mut [u32],
) {
    for ((pair, key), slot) in starts.windows(2).zip(keys).zip(slots) {
        let (start, length) = (pair[0] as usize, (pair[1] - pair[0]) as usize);
        let bytes = match text.get(start..).and_then(<[_]>::first_chunk) {
            Some(bytes) => bytes,
            None => window(start).first_chunk().unwrap_or(&[0; LONGEST_KEY]),
        };
        let bytes = Key::from_le_bytes(*bytes);
        *key = match PADDING.get(length) {
            Some(padding) => bytes | padding,
            None => NOT_A_KEY,
        };
        *slot = kernel.slot(hasher, *key);
    }
}

/// [`Simd::sort_out`], counting places from `first`.
#[inline(always)]
pub(super) fn sort_out<const NARROW: bool>(
    values: &mut [u64],
    first: u32,
    others: &mut [u32],
) -> usize {
    let mut count = 0;
    for (place, value) in (first..).zip(values) {
        let lanes = if NARROW {
            Value(*value).narrow_lanes()
        } else {
            Value(*value).wide_lanes()
        };
        let other = value.wrapping_sub(1) >= Value::APART - 1;
        *value = select_unpredictable(other, *value, lanes);
        others[count] = place;
        count += usize::from(other);
    }
    count
}

/// [`Simd::absent`], counting places from `first`.
#[inline(always)]
pub(super) fn absent(values: &[u64], first: u32, places: &mut [u32]) -> usize {
    const GROUP: usize = 16;
    let mut count = 0;
    for (first, group) in (first..).step_by(GROUP).zip(values.chunks(GROUP)) {
        // Without a branch for each: zeros are added up.
        let zeros: u32 = group.iter().map(|&value| u32::from(value == 0)).sum();
        if zeros > 0 {
            for (place, &value) in (first..).zip(group) {
                places[count] = place;
                count += usize::from(value == 0);
            }
        }
    }
    count
}

/// [`Simd::emit_narrow`]: writes all four lanes and goes on behind those in use.
#[inline(always)]
pub(super) fn emit_narrow(lanes: &[u64], out: &mut [MaybeUninit<u16>]) -> usize {
    let mut at = 0;
    for &lanes in lanes {
        if let Some(room) = out[at..].first_chunk_mut::<4>() {
            for (lane, place) in room.iter_mut().enumerate() {
                place.write((lanes >> (16 * lane)) as u16);
            }
        }
        // Unused lanes are all ones and come last.
        at += 4 - lanes.leading_ones() as usize / 16;
    }
    at
}

/// [`Simd::emit_wide`]: the same with two lanes.
#[inline(always)]
pub(super) fn emit_wide(lanes: &[u64], out: &mut [MaybeUninit<u32>]) -> usize {
    let mut at = 0;
    for &lanes in lanes {
        let second = (lanes >> 32) as u32;
        if let Some([first, next]) = out[at..].first_chunk_mut::<2>() {
            first.write(lanes as u32);
            next.write(second);
        }
        at += 1 + usize::from(second != Value::NO_TOKEN);
    }
    at
}
