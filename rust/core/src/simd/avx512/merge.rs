//! A row of a word in one register; see [`crate::simd::merge`].

#[allow(clippy::wildcard_imports)] // intrinsics
use std::arch::x86_64::*;

use super::{Avx512, load8};
use crate::simd::bucket::{Key, key_length};
use crate::simd::merge::Rows;
use crate::simd::words::{NO_MERGE, NUMBER_BITS, PairLine, Row, WordRules};

#[inline(always)]
fn none() -> __m512i {
    avx512!(_mm512_set1_epi32(NO_MERGE.cast_signed()))
}

#[inline(always)]
fn load(row: &Row) -> __m512i {
    avx512!(_mm512_loadu_si512(row.as_ptr().cast()))
}

#[inline(always)]
fn row_of(values: __m512i) -> Row {
    let mut row = [0; _];
    avx512!(_mm512_storeu_si512(row.as_mut_ptr().cast(), values));
    row
}

impl Rows for Avx512 {
    #[inline(always)]
    fn first_rows(self, rules: WordRules<'_>, key: Key) -> (Row, Row) {
        let in_word = ((1_u32 << key_length(key)) - 1) as u16;
        let bytes = key.to_le_bytes();
        avx512!({
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
            let left = _mm512_cvtepu8_epi32(bytes);
            let right = _mm512_cvtepu8_epi32(_mm_srli_si128::<1>(bytes));
            let pairs = _mm512_or_si512(left, _mm512_slli_epi32::<8>(right));
            let table = rules.byte_pairs.as_ptr().cast();
            let merges = _mm512_mask_i32gather_epi32::<4>(none(), in_word >> 1, pairs, table);
            let symbols = _mm512_mask_mov_epi32(none(), in_word, left);
            (row_of(symbols), row_of(merges))
        })
    }

    #[inline(always)]
    fn least(self, row: &Row) -> (u32, u32) {
        avx512!({
            let row = load(row);
            let least = _mm512_reduce_min_epu32(row);
            let places = _mm512_cmpeq_epi32_mask(row, _mm512_set1_epi32(least.cast_signed()));
            (least, u32::from(places).trailing_zeros())
        })
    }

    #[inline(always)]
    fn put(self, row: &mut Row, at: u32, number: u32) {
        let here = 1_u64.wrapping_shl(at) as u16;
        let number = number.cast_signed();
        *row = row_of(avx512!(_mm512_mask_set1_epi32(load(row), here, number)));
    }

    #[inline(always)]
    fn remove(self, row: &mut Row, from: u32) {
        let kept = !(1_u64 << from) as u16;
        *row = row_of(avx512!(_mm512_mask_compress_epi32(none(), kept, load(row))));
    }

    #[inline(always)]
    fn entry(self, line: &PairLine, pair: u64) -> u64 {
        let found = avx512!({
            let keys = _mm512_srli_epi64::<NUMBER_BITS>(load8(&line.0));
            _mm512_cmpeq_epi64_mask(keys, _mm512_set1_epi64(pair.cast_signed()))
        });
        // The mark at the end stands for all pairs that are not there.
        line.0[(u32::from(found) | 0x80).trailing_zeros() as usize % 8]
    }

    #[inline(always)]
    fn length(self, row: &Row) -> usize {
        let used = avx512!(_mm512_cmpneq_epi32_mask(load(row), none()));
        used.count_ones() as usize
    }
}
