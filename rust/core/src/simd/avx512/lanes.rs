//! Eight lanes in one register.

#[allow(clippy::wildcard_imports)]
use std::arch::x86_64::*;

use super::Avx512;
use crate::simd::lanes::{AHEAD, Lanes};

impl Lanes for Avx512 {
    type Lanes = __m512i;

    #[inline(always)]
    unsafe fn load_lanes(self, from: *const u8) -> __m512i {
        // SAFETY: the caller vouches for the bytes; asking for memory that is not there does nothing.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD).cast());
            _mm512_loadu_si512(from.cast())
        }
    }

    #[inline(always)]
    fn lanes(self, numbers: &[u64; 8]) -> __m512i {
        avx512!(_mm512_loadu_si512(numbers.as_ptr().cast()))
    }

    #[inline(always)]
    fn numbers(self, lanes: __m512i) -> [u64; 8] {
        let mut numbers = [0_u64; 8];
        avx512!(_mm512_storeu_si512(numbers.as_mut_ptr().cast(), lanes));
        numbers
    }

    #[inline(always)]
    fn add(self, left: __m512i, right: __m512i) -> __m512i {
        avx512!(_mm512_add_epi64(left, right))
    }

    #[inline(always)]
    fn xor(self, left: __m512i, right: __m512i) -> __m512i {
        avx512!(_mm512_xor_si512(left, right))
    }

    #[inline(always)]
    fn multiply_halves(self, lanes: __m512i) -> __m512i {
        avx512!(_mm512_mul_epu32(lanes, _mm512_srli_epi64::<32>(lanes)))
    }

    #[inline(always)]
    fn swap_neighbours(self, lanes: __m512i) -> __m512i {
        avx512!(_mm512_shuffle_epi32::<0b01_00_11_10>(lanes))
    }

    #[inline(always)]
    fn scramble(self, lanes: __m512i, key: __m512i, factor: u32) -> __m512i {
        avx512!({
            let mixed = _mm512_xor_si512(lanes, _mm512_srli_epi64::<47>(lanes));
            let mixed = _mm512_xor_si512(mixed, key);
            let factor = _mm512_set1_epi64(i64::from(factor));
            let upper = _mm512_mul_epu32(_mm512_srli_epi64::<32>(mixed), factor);
            _mm512_add_epi64(
                _mm512_mul_epu32(mixed, factor),
                _mm512_slli_epi64::<32>(upper),
            )
        })
    }

    #[inline(always)]
    fn greater_u16(self, left: __m512i, right: __m512i) -> __m512i {
        avx512!(_mm512_max_epu16(left, right))
    }

    #[inline(always)]
    fn greater_u32(self, left: __m512i, right: __m512i) -> __m512i {
        avx512!(_mm512_max_epu32(left, right))
    }
}
