//! Eight lanes in two registers.

#[allow(clippy::wildcard_imports)]
use std::arch::x86_64::*;

use super::Avx2;
use crate::simd::lanes::{AHEAD, Lanes};

type Pair = [__m256i; 2];

#[inline(always)]
fn both(left: Pair, right: Pair, operation: impl Fn(__m256i, __m256i) -> __m256i) -> Pair {
    [operation(left[0], right[0]), operation(left[1], right[1])]
}

impl Lanes for Avx2 {
    type Lanes = Pair;

    #[inline(always)]
    unsafe fn load_lanes(self, from: *const u8) -> Pair {
        // SAFETY: the caller vouches for the bytes; asking for memory that is not there does nothing.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD).cast());
            [
                _mm256_loadu_si256(from.cast()),
                _mm256_loadu_si256(from.add(32).cast()),
            ]
        }
    }

    #[inline(always)]
    fn lanes(self, numbers: &[u64; 8]) -> Pair {
        let (low, high) = numbers.split_at(4);
        avx2!([
            _mm256_loadu_si256(low.as_ptr().cast()),
            _mm256_loadu_si256(high.as_ptr().cast()),
        ])
    }

    #[inline(always)]
    fn numbers(self, lanes: Pair) -> [u64; 8] {
        let mut numbers = [0_u64; 8];
        let (low, high) = numbers.split_at_mut(4);
        avx2!({
            _mm256_storeu_si256(low.as_mut_ptr().cast(), lanes[0]);
            _mm256_storeu_si256(high.as_mut_ptr().cast(), lanes[1]);
        });
        numbers
    }

    #[inline(always)]
    fn add(self, left: Pair, right: Pair) -> Pair {
        both(left, right, |left, right| {
            avx2!(_mm256_add_epi64(left, right))
        })
    }

    #[inline(always)]
    fn xor(self, left: Pair, right: Pair) -> Pair {
        both(left, right, |left, right| {
            avx2!(_mm256_xor_si256(left, right))
        })
    }

    #[inline(always)]
    fn multiply_halves(self, lanes: Pair) -> Pair {
        lanes.map(|lanes| avx2!(_mm256_mul_epu32(lanes, _mm256_srli_epi64::<32>(lanes))))
    }

    #[inline(always)]
    fn swap_neighbours(self, lanes: Pair) -> Pair {
        lanes.map(|lanes| avx2!(_mm256_shuffle_epi32::<0b01_00_11_10>(lanes)))
    }

    #[inline(always)]
    fn scramble(self, lanes: Pair, key: Pair, factor: u32) -> Pair {
        both(lanes, key, |lanes, key| {
            avx2!({
                let mixed = _mm256_xor_si256(lanes, _mm256_srli_epi64::<47>(lanes));
                let mixed = _mm256_xor_si256(mixed, key);
                let factor = _mm256_set1_epi64x(i64::from(factor));
                let upper = _mm256_mul_epu32(_mm256_srli_epi64::<32>(mixed), factor);
                _mm256_add_epi64(
                    _mm256_mul_epu32(mixed, factor),
                    _mm256_slli_epi64::<32>(upper),
                )
            })
        })
    }

    #[inline(always)]
    fn greater_u16(self, left: Pair, right: Pair) -> Pair {
        both(left, right, |left, right| {
            avx2!(_mm256_max_epu16(left, right))
        })
    }

    #[inline(always)]
    fn greater_u32(self, left: Pair, right: Pair) -> Pair {
        both(left, right, |left, right| {
            avx2!(_mm256_max_epu32(left, right))
        })
    }
}
