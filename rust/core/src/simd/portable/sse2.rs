//! Masks of 64 bytes with SSE2, which every x86-64 machine has.

use std::arch::x86_64::{
    __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8,
    _mm_or_si128, _mm_set1_epi8, _mm_sub_epi8,
};

use crate::simd::BLOCK;

/// 64 bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes([__m128i; 4]);

/// The highest bit of each byte.
#[inline(always)]
fn gather(bytes: [__m128i; 4]) -> u64 {
    // SAFETY: every machine that this is compiled for has SSE2.
    let [a, b, c, d] =
        bytes.map(|bytes| u64::from(unsafe { _mm_movemask_epi8(bytes) }.cast_unsigned()));
    (a | b << 16) | (c | d << 16) << 32
}

/// All ones where a byte is from `first` to `last`.
#[inline(always)]
fn within(bytes: __m128i, first: u8, last: u8) -> __m128i {
    // SAFETY: as in `gather`.
    unsafe {
        let above = _mm_sub_epi8(bytes, _mm_set1_epi8(first.cast_signed()));
        let most = _mm_set1_epi8((last - first).cast_signed());
        _mm_cmpeq_epi8(_mm_min_epu8(above, most), above)
    }
}

impl Bytes {
    #[inline(always)]
    pub(crate) fn load(bytes: &[u8; BLOCK]) -> Self {
        let (parts, _) = bytes.as_chunks::<16>();
        // SAFETY: as in `gather`; a part has 16 bytes, which need no alignment.
        Self(std::array::from_fn(|part| unsafe {
            _mm_loadu_si128(parts[part].as_ptr().cast())
        }))
    }

    /// The bytes from `first` to `last`.
    #[inline(always)]
    pub(crate) fn within(self, first: u8, last: u8) -> u64 {
        gather(self.0.map(|bytes| within(bytes, first, last)))
    }

    #[inline(always)]
    pub(crate) fn equal(self, byte: u8) -> u64 {
        // SAFETY: as in `gather`.
        let equal = |bytes| unsafe { _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed())) };
        gather(self.0.map(equal))
    }

    #[inline(always)]
    pub(crate) fn letters(self) -> u64 {
        // SAFETY: as in `gather`.
        let small = |bytes| unsafe { _mm_or_si128(bytes, _mm_set1_epi8(0x20)) };
        gather(self.0.map(|bytes| within(small(bytes), b'a', b'z')))
    }

    #[inline(always)]
    pub(crate) fn high(self) -> u64 {
        gather(self.0)
    }

    #[inline(always)]
    pub(crate) fn continuations(self) -> u64 {
        const FIRST_LEAD: i8 = 0xC0_u8.cast_signed();
        // SAFETY: as in `gather`.
        let continues = |bytes| unsafe { _mm_cmplt_epi8(bytes, _mm_set1_epi8(FIRST_LEAD)) };
        gather(self.0.map(continues))
    }
}
