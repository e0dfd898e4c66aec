//! A window of narrow symbols in one register; see [`crate::simd::windows`].

#[allow(clippy::wildcard_imports)] // intrinsics
use std::arch::x86_64::*;

use super::Avx2;
use crate::simd::windows::{WINDOW, Window, Windows};

/// The numbers 0 to 15.
static COUNT: [i16; WINDOW] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

impl Windows for Avx2 {
    #[inline(always)]
    fn places_narrow(self, symbols: &Window<u16>, left: u16, right: u16) -> u32 {
        avx2!({
            let here = _mm256_loadu_si256(symbols.as_ptr().cast());
            let next = _mm256_loadu_si256(symbols.as_ptr().add(1).cast());
            let left = _mm256_set1_epi16(left.cast_signed());
            let right = _mm256_set1_epi16(right.cast_signed());
            let begins = _mm256_cmpeq_epi16(here, left);
            let ends = _mm256_cmpeq_epi16(next, right);
            let stands = _mm256_movemask_epi8(_mm256_and_si256(begins, ends));
            // One bit of the two of each symbol.
            _pext_u32(stands.cast_unsigned(), 0x5555_5555)
        })
    }

    #[inline(always)]
    fn replace_narrow(self, symbols: &mut Window<u16>, place: usize, length: usize, id: u16) {
        // At most 16.
        let [place, length] = [place, length].map(|number| i16::from(number.min(WINDOW) as u8));
        avx2!({
            let here = _mm256_loadu_si256(symbols.as_ptr().cast());
            let next = _mm256_loadu_si256(symbols.as_ptr().add(1).cast());
            let count = _mm256_loadu_si256(COUNT.as_ptr().cast());
            let (place, length) = (_mm256_set1_epi16(place), _mm256_set1_epi16(length));
            let behind = _mm256_cmpgt_epi16(count, place);
            let moves = _mm256_and_si256(behind, _mm256_cmpgt_epi16(length, count));
            let moved = _mm256_blendv_epi8(here, next, moves);
            let at = _mm256_cmpeq_epi16(count, place);
            let merged = _mm256_blendv_epi8(moved, _mm256_set1_epi16(id.cast_signed()), at);
            _mm256_storeu_si256(symbols.as_mut_ptr().cast(), merged);
        });
    }
}
