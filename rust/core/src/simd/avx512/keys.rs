//! The keys of pieces, and the slots that their hashes give: eight at once.

#[allow(clippy::wildcard_imports)]
use std::arch::x86_64::*;

use super::load_key;
use crate::simd::BLOCK;
use crate::simd::bucket::{BUCKET_BITS, Hasher, Key, LONGEST_KEY};

/// The keys of the eight pieces between nine starts, and their slots.
#[inline(always)]
pub(super) fn eight_keys<'t>(
    text: &[u8],
    window: &impl Fn(usize) -> &'t [u8; BLOCK],
    starts: &[u32; 9],
    hasher: Hasher,
    keys: &mut [Key; 8],
    slots: &mut [u32; 8],
) {
    avx512!({
        let begins = _mm256_loadu_si256(starts.as_ptr().cast());
        let ends = _mm256_loadu_si256(starts.as_ptr().add(1).cast());
        let lengths = _mm256_sub_epi32(ends, begins);
        // Too long: no byte belongs to the key.
        let longest = _mm256_set1_epi32((LONGEST_KEY as u32).cast_signed());
        let short = _mm256_cmple_epu32_mask(lengths, longest);
        let lengths = _mm256_maskz_mov_epi32(short, lengths);
        // From the first start of each four.
        let offsets = _mm256_sub_epi32(begins, _mm256_shuffle_epi32::<0>(begins));
        let lengths = _mm512_castsi256_si512(lengths);
        let offsets = _mm512_castsi256_si512(offsets);
        let [a, b, c, d, e, f, g, h, _] = *starts;
        let first = four_keys::<0>(text, window, [a, b, c, d], offsets, lengths);
        let second = four_keys::<16>(text, window, [e, f, g, h], offsets, lengths);
        _mm512_storeu_si512(keys.as_mut_ptr().cast(), first);
        _mm512_storeu_si512(keys.as_mut_ptr().add(4).cast(), second);
        let (first, second) = (hashes(hasher, first), hashes(hasher, second));
        let lowest = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 28, 24, 20, 16, 12, 8, 4, 0);
        let both = _mm512_castsi512_si256(_mm512_permutex2var_epi32(first, lowest, second));
        let shift = _mm256_set1_epi32((32 - hasher.bits).cast_signed());
        let numbers = _mm256_srlv_epi32(both, shift);
        let found = _mm256_slli_epi32::<{ BUCKET_BITS.cast_signed() }>(numbers);
        _mm256_storeu_si256(slots.as_mut_ptr().cast(), found);
    });
}

/// The keys of four pieces; their lengths, and how far they begin from the first of them, are
/// 32-bit numbers from byte `FROM` on.
#[inline(always)]
fn four_keys<'t, const FROM: i8>(
    text: &[u8],
    window: &impl Fn(usize) -> &'t [u8; BLOCK],
    starts: [u32; 4],
    offsets: __m512i,
    lengths: __m512i,
) -> __m512i {
    avx512!({
        // Lane i of 16 bytes gets number i in each of its bytes.
        let number = |index: i8| _mm_set1_epi8(FROM + 4 * index);
        let spread = joined([number(0), number(1), number(2), number(3)]);
        let count =
            _mm512_broadcast_i32x4(_mm_set_epi64x(0x0F0E_0D0C_0B0A_0908, 0x0706_0504_0302_0100));
        let in_key = _mm512_cmpgt_epu8_mask(_mm512_permutexvar_epi8(spread, lengths), count);
        let padding = _mm512_set1_epi8(-1);
        let [first, .., last] = starts.map(|start| start as usize);
        // All begin within one register, which lies within the text.
        if last - first <= BLOCK - LONGEST_KEY && first + BLOCK <= text.len() {
            let indices = _mm512_add_epi8(_mm512_permutexvar_epi8(spread, offsets), count);
            let bytes = _mm512_loadu_si512(text.as_ptr().add(first).cast());
            _mm512_mask_permutexvar_epi8(padding, in_key, indices, bytes)
        } else {
            let bytes = joined(starts.map(|start| first16(window(start as usize))));
            _mm512_mask_mov_epi8(padding, in_key, bytes)
        }
    })
}

#[inline(always)]
fn first16(bytes: &[u8; BLOCK]) -> __m128i {
    avx512!(_mm_loadu_si128(bytes.as_ptr().cast()))
}

#[inline(always)]
fn joined([a, b, c, d]: [__m128i; 4]) -> __m512i {
    avx512!({
        let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b);
        let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(c), d);
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    })
}

/// Hashes of four keys, in the lowest 32 bits of each: three rounds of AES, after which every
/// bit depends on every byte of the key and on secrets.
#[inline(always)]
fn hashes(hasher: Hasher, keys: __m512i) -> __m512i {
    avx512!({
        let secrets = hasher.secrets.each_ref().map(load_key);
        let mut state = _mm512_xor_si512(keys, _mm512_broadcast_i32x4(secrets[0]));
        for &secret in &secrets[1..] {
            state = _mm512_aesenc_epi128(state, _mm512_broadcast_i32x4(secret));
        }
        state
    })
}
