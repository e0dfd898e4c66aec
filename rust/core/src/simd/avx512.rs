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

mod lanes;
mod merge;
mod windows;

#[allow(clippy::wildcard_imports)] // a hundred intrinsics
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::bucket::{BUCKET_BITS, Bucket, Hasher, Key, LONGEST_KEY, Value};
use super::kinds::{KindMasks, Kinds, PermuteTables};
use super::portable::{self, Portable, keys_one_by_one};
use super::{BLOCK, Job, SLACK, Simd};

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

/// The keys of the eight pieces between nine starts, and their slots.
#[inline(always)]
fn eight_keys<'t>(
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
fn permuted(tables: &PermuteTables, bytes: &[u8; 2 * BLOCK], leads: u64) -> (KindMasks, u64) {
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
