//! A window in one register; see [`crate::simd::windows`].

#[allow(clippy::wildcard_imports)] // intrinsics
use std::arch::x86_64::*;

use super::Avx512;
use crate::simd::windows::{Double, Window, Windows};

impl Windows for Avx512 {
    #[inline(always)]
    fn places_narrow(self, symbols: &Window<u16>, left: u16, right: u16) -> u32 {
        avx512!({
            let here = _mm256_loadu_si256(symbols.as_ptr().cast());
            let next = _mm256_loadu_si256(symbols.as_ptr().add(1).cast());
            let left = _mm256_set1_epi16(left.cast_signed());
            let right = _mm256_set1_epi16(right.cast_signed());
            let begins = _mm256_cmpeq_epi16_mask(here, left);
            _mm256_mask_cmpeq_epi16_mask(begins, next, right).into()
        })
    }

    #[inline(always)]
    fn places_wide(self, symbols: &Window<u32>, left: u32, right: u32) -> u32 {
        avx512!({
            let here = _mm512_loadu_si512(symbols.as_ptr().cast());
            let next = _mm512_loadu_si512(symbols.as_ptr().add(1).cast());
            let left = _mm512_set1_epi32(left.cast_signed());
            let right = _mm512_set1_epi32(right.cast_signed());
            let begins = _mm512_cmpeq_epi32_mask(here, left);
            _mm512_mask_cmpeq_epi32_mask(begins, next, right).into()
        })
    }

    #[inline(always)]
    fn replace_narrow(self, symbols: &mut Window<u16>, place: usize, length: usize, id: u16) {
        let (moves, at) = masks(place, length);
        avx512!({
            let here = _mm256_loadu_si256(symbols.as_ptr().cast());
            let next = _mm256_loadu_si256(symbols.as_ptr().add(1).cast());
            let id = _mm256_set1_epi16(id.cast_signed());
            let moved = _mm256_mask_mov_epi16(here, moves, next);
            let merged = _mm256_mask_mov_epi16(moved, at, id);
            _mm256_storeu_si256(symbols.as_mut_ptr().cast(), merged);
        });
    }

    #[inline(always)]
    fn replace_wide(self, symbols: &mut Window<u32>, place: usize, length: usize, id: u32) {
        let (moves, at) = masks(place, length);
        avx512!({
            let here = _mm512_loadu_si512(symbols.as_ptr().cast());
            let next = _mm512_loadu_si512(symbols.as_ptr().add(1).cast());
            let id = _mm512_set1_epi32(id.cast_signed());
            let moved = _mm512_mask_mov_epi32(here, moves, next);
            let merged = _mm512_mask_mov_epi32(moved, at, id);
            _mm512_storeu_si512(symbols.as_mut_ptr().cast(), merged);
        });
    }

    #[inline(always)]
    fn places_double(self, symbols: &Double<u16>, left: u16, right: u16) -> u32 {
        avx512!({
            let here = _mm512_loadu_si512(symbols.as_ptr().cast());
            let next = _mm512_loadu_si512(symbols.as_ptr().add(1).cast());
            let left = _mm512_set1_epi16(left.cast_signed());
            let right = _mm512_set1_epi16(right.cast_signed());
            let begins = _mm512_cmpeq_epi16_mask(here, left);
            _mm512_mask_cmpeq_epi16_mask(begins, next, right)
        })
    }

    #[inline(always)]
    fn replace_double(self, symbols: &mut Double<u16>, place: usize, length: usize, id: u16) {
        let at = 1_u64 << (place % 32);
        let word = (1_u64 << length.min(32)) - 1;
        let (moves, at) = ((word & !(at | (at - 1))) as u32, at as u32);
        avx512!({
            let here = _mm512_loadu_si512(symbols.as_ptr().cast());
            let next = _mm512_loadu_si512(symbols.as_ptr().add(1).cast());
            let id = _mm512_set1_epi16(id.cast_signed());
            let moved = _mm512_mask_mov_epi16(here, moves, next);
            let merged = _mm512_mask_mov_epi16(moved, at, id);
            _mm512_storeu_si512(symbols.as_mut_ptr().cast(), merged);
        });
    }
}

/// The places behind `place` that belong to the word, and `place` itself.
#[inline(always)]
fn masks(place: usize, length: usize) -> (u16, u16) {
    let at = 1_u32 << (place % 16);
    let word = (1_u32 << length.min(16)) - 1;
    ((word & !(at | (at - 1))) as u16, at as u16)
}
