//! The kernel for AVX2: blocks and buckets in registers of 32 bytes.
//!
//! It has neither byte compression nor permutes over tables, so positions are
//! written from the bits one by one and characters are looked up one by one; the
//! compares, the hashes and the look-ups overlap as with AVX-512.

/// Calls an intrinsic of which the safety is the presence of its instruction.
macro_rules! avx2 {
    ($call:expr) => {
        // SAFETY: a value of `Avx2` proves that the machine has the instruction;
        // pointers come from references to at least as many bytes as are read.
        unsafe { $call }
    };
}

mod lanes;
mod merge;
mod windows;

use std::arch::x86_64::{
    __m256i, _MM_HINT_T0, _mm_prefetch, _mm256_andnot_si256, _mm256_castsi256_pd,
    _mm256_cmpeq_epi8, _mm256_cmpeq_epi64, _mm256_loadu_si256, _mm256_min_epu8,
    _mm256_movemask_epi8, _mm256_movemask_pd, _mm256_or_si256, _mm256_set_epi64x, _mm256_set1_epi8,
    _mm256_slli_epi16, _mm256_sub_epi8,
};
use std::mem::MaybeUninit;

use super::bucket::{BUCKET_BITS, Bucket, Hasher, Key, Value};
use super::portable;
use super::{BLOCK, Job, Simd};

/// Proof that the machine has AVX2; only [`run`] makes one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// Runs `job` with AVX2, which [`is_available`].
#[inline]
pub(super) fn run<J: Job>(job: J) -> J::Output {
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn with_features<J: Job>(job: J) -> J::Output {
        job.run(Avx2(()))
    }
    // SAFETY: the only caller has checked `is_available`.
    unsafe { with_features(job) }
}

#[inline(always)]
fn mask(low: __m256i, high: __m256i) -> u64 {
    let low = avx2!(_mm256_movemask_epi8(low)).cast_unsigned();
    let high = avx2!(_mm256_movemask_epi8(high)).cast_unsigned();
    u64::from(high) << 32 | u64::from(low)
}

/// All ones in the bytes of which the distance to `first` is at most `span`.
#[inline(always)]
fn within(bytes: __m256i, first: u8, span: u8) -> __m256i {
    avx2!({
        let distance = _mm256_sub_epi8(bytes, _mm256_set1_epi8(first.cast_signed()));
        let limit = _mm256_set1_epi8(span.cast_signed());
        _mm256_cmpeq_epi8(_mm256_min_epu8(distance, limit), distance)
    })
}

impl Simd for Avx2 {
    type Block = [__m256i; 2];

    #[inline(always)]
    fn load(self, bytes: &[u8; BLOCK]) -> [__m256i; 2] {
        avx2!([
            _mm256_loadu_si256(bytes.as_ptr().cast()),
            _mm256_loadu_si256(bytes.as_ptr().add(32).cast()),
        ])
    }

    #[inline(always)]
    fn equal(self, [low, high]: [__m256i; 2], byte: u8) -> u64 {
        avx2!({
            let byte = _mm256_set1_epi8(byte.cast_signed());
            mask(_mm256_cmpeq_epi8(low, byte), _mm256_cmpeq_epi8(high, byte))
        })
    }

    #[inline(always)]
    fn within(self, [low, high]: [__m256i; 2], first: u8, last: u8) -> u64 {
        mask(
            within(low, first, last - first),
            within(high, first, last - first),
        )
    }

    #[inline(always)]
    fn letters(self, [low, high]: [__m256i; 2]) -> u64 {
        avx2!({
            let case = _mm256_set1_epi8(0x20);
            mask(
                within(_mm256_or_si256(low, case), b'a', 25),
                within(_mm256_or_si256(high, case), b'a', 25),
            )
        })
    }

    #[inline(always)]
    fn high(self, [low, high]: [__m256i; 2]) -> u64 {
        mask(low, high)
    }

    #[inline(always)]
    fn continuations(self, [low, high]: [__m256i; 2]) -> u64 {
        // The highest bit set and the one below it clear.
        avx2!(mask(
            _mm256_andnot_si256(_mm256_slli_epi16::<1>(low), low),
            _mm256_andnot_si256(_mm256_slli_epi16::<1>(high), high),
        ))
    }

    #[inline(always)]
    fn positions(self, mask: u64, base: u32, out: &mut [u32; BLOCK]) -> usize {
        portable::positions(mask, base, out)
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
        portable::keys_one_by_one(self, text, window, starts, hasher, keys, slots);
        for &slot in slots.iter() {
            let bucket = buckets.as_ptr().wrapping_byte_add(slot as usize);
            avx2!(_mm_prefetch::<_MM_HINT_T0>(bucket.cast()));
        }
    }

    #[inline(always)]
    fn probe(self, buckets: &[Bucket], keys: &[Key], slots: &[u32], values: &mut [u64]) {
        assert!(!buckets.is_empty());
        let mask = (buckets.len() - 1) << BUCKET_BITS;
        for ((&key, &slot), value) in keys.iter().zip(slots).zip(values) {
            // SAFETY: there are buckets, and the slot is a multiple of their size that is not beyond the last of them.
            let bucket = unsafe { &*buckets.as_ptr().byte_add(slot as usize & mask) };
            let line: *const __m256i = (&raw const *bucket).cast();
            let found = avx2!({
                let (low, high) = (
                    (key as u64).cast_signed(),
                    ((key >> 64) as u64).cast_signed(),
                );
                let key = _mm256_set_epi64x(high, low, high, low);
                let first = _mm256_cmpeq_epi64(key, _mm256_loadu_si256(line));
                let last = _mm256_cmpeq_epi64(key, _mm256_loadu_si256(line.add(1)));
                let first = _mm256_movemask_pd(_mm256_castsi256_pd(first));
                let last = _mm256_movemask_pd(_mm256_castsi256_pd(last));
                (last << 4 | first).cast_unsigned() as usize
            });
            *value = bucket.value_of_match(found);
        }
    }

    #[inline(always)]
    fn sort_out<const NARROW: bool>(self, values: &mut [u64], others: &mut [u32]) -> usize {
        let mut count = 0;
        let mut first = 0;
        let (eights, rest) = values.as_chunks_mut::<8>();
        for eight in eights {
            // Nearly always all are inline: one branch for the eight.
            let mut other = false;
            for &value in eight.iter() {
                other |= value.wrapping_sub(1) >= Value::APART - 1;
            }
            if other {
                count += portable::sort_out::<NARROW>(eight, first, &mut others[count..]);
            } else {
                for value in eight {
                    *value = if NARROW {
                        Value(*value).narrow_lanes()
                    } else {
                        Value(*value).wide_lanes()
                    };
                }
            }
            first += 8;
        }
        count + portable::sort_out::<NARROW>(rest, first, &mut others[count..])
    }

    #[inline(always)]
    fn fetch(self, address: *const u8) {
        avx2!(_mm_prefetch::<_MM_HINT_T0>(address.cast()));
    }

    #[inline(always)]
    fn emit_narrow(self, lanes: &[u64], out: &mut [MaybeUninit<u16>]) -> usize {
        portable::emit_narrow(lanes, out)
    }

    #[inline(always)]
    fn emit_wide(self, lanes: &[u64], out: &mut [MaybeUninit<u32>]) -> usize {
        portable::emit_wide(lanes, out)
    }
}
