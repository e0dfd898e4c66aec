//! The kinds of 64 characters at once: tables that are looked up by permuting bytes.

#[allow(clippy::wildcard_imports)]
use std::arch::x86_64::*;

use super::byte;
use crate::simd::BLOCK;
use crate::simd::kinds::{KindMasks, PermuteTables};

/// The byte at each of 128 indices of seven bits.
#[inline(always)]
fn of_128(table: &[[u8; 128]], index: usize, low: __m512i) -> __m512i {
    let bytes = table[index].as_ptr();
    avx512!({
        let first = _mm512_loadu_si512(bytes.cast());
        let second = _mm512_loadu_si512(bytes.add(BLOCK).cast());
        _mm512_permutex2var_epi8(first, low, second)
    })
}

#[inline(always)]
fn choose(one: __mmask64, if_zero: __m512i, if_one: __m512i) -> __m512i {
    avx512!(_mm512_mask_mov_epi8(if_zero, one, if_one))
}

/// The byte at each of 512 indices: seven bits in `low`, the others in `high`.
#[inline(always)]
fn of_512(table: &[[u8; 128]], first: usize, low: __m512i, high: [__mmask64; 2]) -> __m512i {
    choose(
        high[1],
        choose(
            high[0],
            of_128(table, first, low),
            of_128(table, first + 1, low),
        ),
        choose(
            high[0],
            of_128(table, first + 2, low),
            of_128(table, first + 3, low),
        ),
    )
}

/// The bytes of which a bit of `bits` is set.
#[inline(always)]
fn any(bytes: __m512i, bits: __m512i) -> __mmask64 {
    avx512!(_mm512_test_epi8_mask(bytes, bits))
}

/// The kinds of the characters at `leads`, and those that must be looked up by themselves.
#[inline(always)]
pub(super) fn permuted(
    tables: &PermuteTables,
    bytes: &[u8; 2 * BLOCK],
    leads: u64,
) -> (KindMasks, u64) {
    avx512!({
        let at: *const u8 = bytes.as_ptr();
        let first = _mm512_loadu_si512(at.cast());
        let second = _mm512_loadu_si512(at.add(1).cast());
        let third = _mm512_loadu_si512(at.add(2).cast());
        let six_bits = byte(63);
        let two = _mm512_mask_cmplt_epu8_mask(leads, first, byte(0xE0));
        let four = _mm512_mask_cmpge_epu8_mask(leads, first, byte(0xF0));
        // A code point of 16 bits: four, six and six.
        let top = _mm512_maskz_mov_epi8(!two, _mm512_and_si512(first, byte(15)));
        let middle = _mm512_mask_mov_epi8(
            _mm512_and_si512(second, six_bits),
            two,
            _mm512_and_si512(first, byte(31)),
        );
        let low = _mm512_and_si512(_mm512_mask_mov_epi8(third, two, second), six_bits);

        // The row of 64: the ten upper bits.
        let bit_6 = _mm512_and_si512(_mm512_slli_epi16::<6>(top), byte(64));
        let seven_bits = _mm512_or_si512(middle, bit_6);
        let next_bits = [any(top, byte(2)), any(top, byte(4))];
        let rows = tables.row.as_chunks::<128>().0;
        let row = choose(
            any(top, byte(8)),
            of_512(rows, 0, seven_bits, next_bits),
            of_512(rows, 4, seven_bits, next_bits),
        );
        let mixed = leads & _mm512_movepi8_mask(row) & !four;
        let mut kind = row;
        if mixed != 0 {
            // Byte `row * 8 + low / 8` of each plane, bit `low % 8`.
            let column = _mm512_and_si512(_mm512_srli_epi16::<3>(low), byte(7));
            let index = _mm512_and_si512(_mm512_slli_epi16::<3>(row), byte(0x78));
            let index = _mm512_or_si512(index, column);
            let high = [any(row, byte(16)), any(row, byte(32))];
            let bits = _mm512_set1_epi64(0x8040_2010_0804_0201_u64.cast_signed());
            let bit = _mm512_shuffle_epi8(bits, _mm512_and_si512(low, byte(7)));
            let [zero, one, two] = &tables.planes;
            let zero = any(of_512(zero.as_chunks().0, 0, index, high), bit);
            let one = any(of_512(one.as_chunks().0, 0, index, high), bit);
            let two = any(of_512(two.as_chunks().0, 0, index, high), bit);
            let kinds = _mm512_maskz_mov_epi8(zero, byte(1));
            let kinds = _mm512_mask_add_epi8(kinds, one, kinds, byte(2));
            let kinds = _mm512_mask_add_epi8(kinds, two, kinds, byte(4));
            kind = _mm512_mask_mov_epi8(row, mixed, kinds);
        }
        let known = leads & !four;
        let masks = KindMasks {
            letter: _mm512_mask_cmpeq_epi8_mask(known, kind, byte(1)),
            upper: _mm512_mask_cmpeq_epi8_mask(known, kind, byte(2)),
            uncased: _mm512_mask_cmpeq_epi8_mask(known, kind, byte(3)),
            mark: _mm512_mask_cmpeq_epi8_mask(known, kind, byte(4)),
            number: 0,
            white: 0,
        };
        let unresolved = _mm512_mask_cmpeq_epi8_mask(known, kind, byte(7));
        (masks, four | unresolved)
    })
}
