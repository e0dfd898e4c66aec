//! The kernel for AVX-512 with VBMI2: a block or a bucket is one register, a
//! compare gives a mask of bits at once, and bytes, tokens and places are compressed
//! by such masks.

/// Calls intrinsics of which the safety is the presence of their instructions.
macro_rules! avx512 {
    ($call:expr) => {
        // SAFETY: a value of `Avx512` proves that the machine has the
        // instructions; pointers come from references to at least as many bytes
        // as are read or written.
        unsafe { $call }
    };
}

mod keys;
mod kinds;
mod lanes;
mod merge;
mod windows;

#[allow(clippy::wildcard_imports)] // a hundred intrinsics
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::bucket::{BUCKET_BITS, Bucket, Hasher, Key, Value};
use super::kinds::{KindMasks, Kinds};
use super::portable::{self, Portable, keys_one_by_one};
use super::{BLOCK, Job, SLACK, Simd};
use keys::eight_keys;
use kinds::permuted;

/// Proof that the machine has these instructions; only [`run`] makes one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// Runs `job` with AVX-512, which [`is_available`].
#[inline]
pub(super) fn run<J: Job>(job: J) -> J::Output {
    #[target_feature(
        enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,vaes,aes,avx2,bmi1,bmi2,lzcnt,popcnt"
    )]
    fn with_features<J: Job>(job: J) -> J::Output {
        job.run(Avx512(()))
    }
    // SAFETY: the only caller has checked `is_available`.
    unsafe { with_features(job) }
}

/// The numbers 0 to 63.
static COUNT: [u8; BLOCK] = {
    let mut count = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        count[at] = at as u8;
        at += 1;
    }
    count
};

#[inline(always)]
fn byte(value: u8) -> __m512i {
    avx512!(_mm512_set1_epi8(value.cast_signed()))
}

#[inline(always)]
fn load64(bytes: &[u8; BLOCK]) -> __m512i {
    avx512!(_mm512_loadu_si512(bytes.as_ptr().cast()))
}

#[inline(always)]
fn load8(numbers: &[u64; 8]) -> __m512i {
    avx512!(_mm512_loadu_si512(numbers.as_ptr().cast()))
}

impl Simd for Avx512 {
    type Block = __m512i;

    #[inline(always)]
    fn load(self, bytes: &[u8; BLOCK]) -> __m512i {
        load64(bytes)
    }

    #[inline(always)]
    fn equal(self, block: __m512i, value: u8) -> u64 {
        avx512!(_mm512_cmpeq_epi8_mask(block, byte(value)))
    }

    #[inline(always)]
    fn within(self, block: __m512i, first: u8, last: u8) -> u64 {
        avx512!({
            let distance = _mm512_sub_epi8(block, byte(first));
            _mm512_cmple_epu8_mask(distance, byte(last - first))
        })
    }

    #[inline(always)]
    fn letters(self, block: __m512i) -> u64 {
        self.within(avx512!(_mm512_or_si512(block, byte(0x20))), b'a', b'z')
    }

    #[inline(always)]
    fn high(self, block: __m512i) -> u64 {
        avx512!(_mm512_movepi8_mask(block))
    }

    #[inline(always)]
    fn continuations(self, block: __m512i) -> u64 {
        // The highest bit set and the one below it clear.
        avx512!(_mm512_movepi8_mask(_mm512_andnot_si512(
            _mm512_slli_epi16::<1>(block),
            block
        )))
    }

    #[inline(always)]
    fn kinds(self, kinds: &Kinds, bytes: &[u8; 2 * BLOCK], leads: u64) -> KindMasks {
        // Two or three characters are looked up faster by themselves.
        if leads.count_ones() <= 3 {
            return kinds.one_by_one(bytes, leads);
        }
        let (resolved, rest) = permuted(&kinds.by_permute, bytes, leads);
        if rest == 0 {
            return resolved;
        }
        resolved.with(kinds.one_by_one(bytes, rest))
    }

    #[inline(always)]
    fn positions(self, mask: u64, base: u32, out: &mut [u32; BLOCK]) -> usize {
        avx512!({
            let places = _mm512_maskz_compress_epi8(mask, load64(&COUNT));
            let count = mask.count_ones() as usize;
            let base = _mm512_set1_epi32(base.cast_signed());
            let out: *mut u32 = out.as_mut_ptr();
            // Few blocks have more than 16.
            let part = _mm512_castsi512_si128(places);
            let part = _mm512_add_epi32(base, _mm512_cvtepu8_epi32(part));
            _mm512_storeu_si512(out.cast(), part);
            if count > 16 {
                let part = _mm512_extracti32x4_epi32::<1>(places);
                let part = _mm512_add_epi32(base, _mm512_cvtepu8_epi32(part));
                _mm512_storeu_si512(out.add(16).cast(), part);
                if count > 32 {
                    let part = _mm512_extracti32x4_epi32::<2>(places);
                    let part = _mm512_add_epi32(base, _mm512_cvtepu8_epi32(part));
                    _mm512_storeu_si512(out.add(32).cast(), part);
                    let part = _mm512_extracti32x4_epi32::<3>(places);
                    let part = _mm512_add_epi32(base, _mm512_cvtepu8_epi32(part));
                    _mm512_storeu_si512(out.add(48).cast(), part);
                }
            }
            count
        })
    }

    #[inline(always)]
    fn slot(self, hasher: Hasher, key: Key) -> u32 {
        let secrets = hasher.secrets.each_ref().map(load_key);
        let hash = avx512!({
            let mut state = _mm_xor_si128(load_key(&key), secrets[0]);
            for &secret in &secrets[1..] {
                state = _mm_aesenc_si128(state, secret);
            }
            _mm_cvtsi128_si32(state)
        });
        hasher.slot(hash.cast_unsigned())
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
        let whole = keys.len() & !7;
        for at in (0..whole).step_by(8) {
            let (done, slots) = slots.split_at_mut(at);
            let starts = starts[at..].first_chunk();
            let room = (keys[at..].first_chunk_mut(), slots.first_chunk_mut());
            let (Some(starts), (Some(keys), Some(slots))) = (starts, room) else {
                break;
            };
            eight_keys(text, &window, starts, hasher, keys, slots);
            // Those of the eight before, which are in memory by now.
            if let Some(before) = done.last_chunk::<8>() {
                fetch(buckets, before);
            }
        }
        let rest = &mut slots[whole..];
        keys_one_by_one(
            self,
            text,
            &window,
            &starts[whole..],
            hasher,
            &mut keys[whole..],
            rest,
        );
        for &slot in &slots[whole.saturating_sub(8)..] {
            fetch(buckets, &[slot]);
        }
    }

    #[inline(always)]
    fn probe(self, buckets: &[Bucket], keys: &[Key], slots: &[u32], values: &mut [u64]) {
        assert!(!buckets.is_empty());
        let (keys, last_keys) = keys.as_chunks::<8>();
        let (slots, last_slots) = slots.as_chunks::<8>();
        let (values, last_values) = values.as_chunks_mut::<8>();
        for ((keys, slots), values) in keys.iter().zip(slots).zip(values) {
            for at in 0..8 {
                values[at] = look_up(buckets, &keys[at], slots[at]);
            }
        }
        for ((key, &slot), value) in last_keys.iter().zip(last_slots).zip(last_values) {
            *value = look_up(buckets, key, slot);
        }
    }

    #[inline(always)]
    fn absent(self, values: &[u64], places: &mut [u32]) -> usize {
        let (eights, rest) = values.as_chunks::<8>();
        let mut count = 0;
        let mut first = 0;
        for eight in eights {
            let Some(room) = places[count..].first_chunk_mut::<8>() else {
                break;
            };
            avx512!({
                let value = load8(eight);
                let zero = _mm512_testn_epi64_mask(value, value);
                let numbers = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
                let numbers = _mm256_add_epi32(numbers, _mm256_set1_epi32(first));
                let numbers = _mm256_maskz_compress_epi32(zero, numbers);
                _mm256_storeu_si256(room.as_mut_ptr().cast(), numbers);
                count += zero.count_ones() as usize;
            });
            first += 8;
        }
        count + portable::absent(rest, first.cast_unsigned(), &mut places[count..])
    }

    #[inline(always)]
    fn sort_out<const NARROW: bool>(self, values: &mut [u64], others: &mut [u32]) -> usize {
        let mut count = 0;
        let mut first = 0;
        let (eights, rest) = values.as_chunks_mut::<8>();
        for eight in eights {
            let Some(room) = others[count..].first_chunk_mut::<8>() else {
                break;
            };
            avx512!({
                let value = load8(eight);
                let one = _mm512_set1_epi64(1);
                let limit = _mm512_set1_epi64((Value::APART - 1).cast_signed());
                let other = _mm512_cmpge_epu64_mask(_mm512_sub_epi64(value, one), limit);
                let lanes = if NARROW {
                    narrow_lanes(value)
                } else {
                    wide_lanes(value)
                };
                let kept = _mm512_mask_mov_epi64(lanes, other, value);
                _mm512_storeu_si512(eight.as_mut_ptr().cast(), kept);
                let places = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
                let places = _mm256_add_epi32(places, _mm256_set1_epi32(first));
                let places = _mm256_maskz_compress_epi32(other, places);
                _mm256_storeu_si256(room.as_mut_ptr().cast(), places);
                count += other.count_ones() as usize;
            });
            first += 8;
        }
        count + portable::sort_out::<NARROW>(rest, first.cast_unsigned(), &mut others[count..])
    }

    #[inline(always)]
    fn fetch(self, address: *const u8) {
        avx512!(_mm_prefetch::<_MM_HINT_T0>(address.cast()));
    }

    #[inline(always)]
    fn emit_narrow(self, lanes: &[u64], out: &mut [MaybeUninit<u16>]) -> usize {
        // Every store below stays within the room that the caller gives.
        assert!(out.len() >= 4 * lanes.len() + SLACK);
        let mut at: *mut MaybeUninit<u16> = out.as_mut_ptr();
        let first = at;
        let (eights, rest) = lanes.as_chunks::<8>();
        for eight in eights {
            avx512!({
                let lanes = load8(eight);
                let used = _mm512_cmpneq_epi16_mask(lanes, _mm512_set1_epi16(-1));
                _mm512_storeu_si512(at.cast(), _mm512_maskz_compress_epi16(used, lanes));
                at = at.add(used.count_ones() as usize);
            });
        }
        if !rest.is_empty() {
            avx512!({
                let present = (1_u32 << rest.len()) as u8 - 1;
                let none = _mm512_set1_epi16(-1);
                let lanes = _mm512_mask_loadu_epi64(none, present, rest.as_ptr().cast());
                let used = _mm512_cmpneq_epi16_mask(lanes, none);
                _mm512_storeu_si512(at.cast(), _mm512_maskz_compress_epi16(used, lanes));
                at = at.add(used.count_ones() as usize);
            });
        }
        // SAFETY: both point into `out`.
        unsafe { at.offset_from(first) }.unsigned_abs()
    }

    #[inline(always)]
    fn emit_wide(self, lanes: &[u64], out: &mut [MaybeUninit<u32>]) -> usize {
        // Every store below stays within the room that the caller gives.
        assert!(out.len() >= 2 * lanes.len() + SLACK);
        let mut at: *mut MaybeUninit<u32> = out.as_mut_ptr();
        let first = at;
        let (eights, rest) = lanes.as_chunks::<8>();
        for eight in eights {
            avx512!({
                let lanes = load8(eight);
                let none = _mm512_set1_epi32(Value::NO_TOKEN.cast_signed());
                let used = _mm512_cmpneq_epi32_mask(lanes, none);
                _mm512_storeu_si512(at.cast(), _mm512_maskz_compress_epi32(used, lanes));
                at = at.add(used.count_ones() as usize);
            });
        }
        if !rest.is_empty() {
            avx512!({
                let present = (1_u32 << rest.len()) as u8 - 1;
                let none = _mm512_set1_epi32(Value::NO_TOKEN.cast_signed());
                let lanes = _mm512_mask_loadu_epi64(none, present, rest.as_ptr().cast());
                let used = _mm512_cmpneq_epi32_mask(lanes, none);
                _mm512_storeu_si512(at.cast(), _mm512_maskz_compress_epi32(used, lanes));
                at = at.add(used.count_ones() as usize);
            });
        }
        // SAFETY: both point into `out`.
        unsafe { at.offset_from(first) }.unsigned_abs()
    }

    #[inline(always)]
    fn count_narrow(self, lanes: &[u64]) -> usize {
        let (eights, rest) = lanes.as_chunks();
        let count = |eight| {
            let used = avx512!(_mm512_cmpneq_epi16_mask(
                load8(eight),
                _mm512_set1_epi16(-1)
            ));
            used.count_ones() as usize
        };
        eights.iter().map(count).sum::<usize>() + Portable.count_narrow(rest)
    }

    #[inline(always)]
    fn count_wide(self, lanes: &[u64]) -> usize {
        let (eights, rest) = lanes.as_chunks();
        let count = |eight| {
            let none = avx512!(_mm512_set1_epi32(Value::NO_TOKEN.cast_signed()));
            let used = avx512!(_mm512_cmpneq_epi32_mask(load8(eight), none));
            used.count_ones() as usize
        };
        eights.iter().map(count).sum::<usize>() + Portable.count_wide(rest)
    }
}

/// [`Value::narrow_lanes`] of eight values.
#[inline(always)]
fn narrow_lanes(values: __m512i) -> __m512i {
    avx512!({
        let token = _mm512_set1_epi64(0xFFFF);
        let second = _mm512_srli_epi64::<{ Value::TOKEN_BITS }>(values);
        let second = _mm512_slli_epi64::<16>(_mm512_and_si512(second, token));
        let both = _mm512_or_si512(_mm512_and_si512(values, token), second);
        _mm512_or_si512(both, _mm512_set1_epi64(!0 << 32))
    })
}

/// [`Value::wide_lanes`] of eight values.
#[inline(always)]
fn wide_lanes(values: __m512i) -> __m512i {
    avx512!({
        let token = _mm512_set1_epi64(i64::from(Value::NO_TOKEN));
        let second = _mm512_srli_epi64::<{ Value::TOKEN_BITS }>(values);
        let second = _mm512_slli_epi64::<32>(_mm512_and_si512(second, token));
        _mm512_or_si512(_mm512_and_si512(values, token), second)
    })
}

/// The value of `key`, or zero, from its bucket. There are buckets.
#[inline(always)]
fn look_up(buckets: &[Bucket], key: &Key, slot: u32) -> u64 {
    let slot = slot as usize & (buckets.len() - 1) << BUCKET_BITS;
    // SAFETY: there are buckets, as `probe` asserts, and the slot is a multiple of their size that is not beyond
    // the last of them.
    let bucket = unsafe { &*buckets.as_ptr().byte_add(slot) };
    let found = avx512!({
        let line = _mm512_loadu_si512((&raw const *bucket).cast());
        _mm512_cmpeq_epi64_mask(_mm512_broadcast_i32x4(load_key(key)), line)
    });
    bucket.value_of_match(found as usize)
}

/// Fetches the buckets at `slots`.
#[inline(always)]
fn fetch<const N: usize>(buckets: &[Bucket], slots: &[u32; N]) {
    for &slot in slots {
        let bucket = buckets.as_ptr().wrapping_byte_add(slot as usize);
        avx512!(_mm_prefetch::<_MM_HINT_T0>(bucket.cast()));
    }
}

#[inline(always)]
fn load_key(key: &Key) -> __m128i {
    avx512!(_mm_loadu_si128((&raw const *key).cast()))
}
