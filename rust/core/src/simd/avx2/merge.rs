//! A row of a word in two registers; see [`crate::simd::merge`].

#[allow(clippy::wildcard_imports)] // intrinsics
use std::arch::x86_64::*;

use super::Avx2;
use crate::simd::bucket::LONGEST_KEY;
use crate::simd::merge::Rows;
use crate::simd::words::{NO_MERGE, NUMBER_BITS, PairLine, Row};

type Halves = [__m256i; 2];

#[inline(always)]
fn load(row: &Row) -> Halves {
    let row: *const __m256i = row.as_ptr().cast();
    avx2!([_mm256_loadu_si256(row), _mm256_loadu_si256(row.add(1))])
}

#[inline(always)]
fn row_of([low, high]: Halves) -> Row {
    let mut row: Row = [0; LONGEST_KEY];
    let place: *mut __m256i = row.as_mut_ptr().cast();
    avx2!({
        _mm256_storeu_si256(place, low);
        _mm256_storeu_si256(place.add(1), high);
    });
    row
}

#[inline(always)]
fn all(number: u32) -> __m256i {
    avx2!(_mm256_set1_epi32(number.cast_signed()))
}

#[inline(always)]
fn places() -> Halves {
    avx2!([
        _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)
    ])
}

/// One bit for each number that is `number`.
#[inline(always)]
fn equal([low, high]: Halves, number: u32) -> u32 {
    avx2!({
        let low = _mm256_cmpeq_epi32(low, all(number));
        let high = _mm256_cmpeq_epi32(high, all(number));
        let low = _mm256_movemask_ps(_mm256_castsi256_ps(low)).cast_unsigned();
        let high = _mm256_movemask_ps(_mm256_castsi256_ps(high)).cast_unsigned();
        high << 8 | low
    })
}

impl Rows for Avx2 {
    #[inline(always)]
    fn least(self, row: &Row) -> (u32, u32) {
        avx2!({
            let [low, high] = load(row);
            let eight = _mm256_min_epu32(low, high);
            let (low, high) = (
                _mm256_castsi256_si128(eight),
                _mm256_extracti128_si256::<1>(eight),
            );
            let four = _mm_min_epu32(low, high);
            let two = _mm_min_epu32(four, _mm_shuffle_epi32::<0b1110>(four));
            let one = _mm_min_epu32(two, _mm_shuffle_epi32::<0b01>(two));
            let least = _mm_cvtsi128_si32(one).cast_unsigned();
            (least, equal(load(row), least).trailing_zeros())
        })
    }

    #[inline(always)]
    fn put(self, row: &mut Row, at: u32, number: u32) {
        let ([low, high], [low_places, high_places]) = (load(row), places());
        *row = row_of(avx2!([
            _mm256_blendv_epi8(low, all(number), _mm256_cmpeq_epi32(low_places, all(at))),
            _mm256_blendv_epi8(high, all(number), _mm256_cmpeq_epi32(high_places, all(at)))
        ]));
    }

    #[inline(always)]
    fn remove(self, row: &mut Row, from: u32) {
        let ([low, high], [low_places, high_places]) = (load(row), places());
        *row = row_of(avx2!({
            let up = _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0);
            let next_low = _mm256_permutevar8x32_epi32(low, up);
            let next_high = _mm256_permutevar8x32_epi32(high, up);
            let next_low = _mm256_blend_epi32::<0x80>(next_low, next_high);
            let next_high = _mm256_blend_epi32::<0x80>(next_high, all(NO_MERGE));
            let (from_low, from_high) = (
                _mm256_cmpgt_epi32(all(from), low_places),
                _mm256_cmpgt_epi32(all(from), high_places),
            );
            // Those before `from` stay.
            [
                _mm256_blendv_epi8(next_low, low, from_low),
                _mm256_blendv_epi8(next_high, high, from_high),
            ]
        }));
    }

    #[inline(always)]
    fn entry(self, line: &PairLine, pair: u64) -> u64 {
        let found = avx2!({
            let line: *const __m256i = line.0.as_ptr().cast();
            let pair = _mm256_set1_epi64x(pair.cast_signed());
            let equal = |half| {
                let keys = _mm256_srli_epi64::<{ NUMBER_BITS.cast_signed() }>(half);
                let equal = _mm256_cmpeq_epi64(keys, pair);
                _mm256_movemask_pd(_mm256_castsi256_pd(equal)).cast_unsigned()
            };
            let first = equal(_mm256_loadu_si256(line));
            equal(_mm256_loadu_si256(line.add(1))) << 4 | first
        });
        // The mark at the end stands for all pairs that are not there.
        line.0[(found | 0x80).trailing_zeros() as usize % 8]
    }

    #[inline(always)]
    fn length(self, row: &Row) -> usize {
        LONGEST_KEY - equal(load(row), NO_MERGE).count_ones() as usize
    }
}
