//! The kernel for AVX-512 with VBMI2: a block or a bucket is one register, a
//! compare gives a mask of bits at once, and bytes, tokens and places are compressed
//! by such masks.

#[allow(clippy::wildcard_imports)] // a hundred intrinsics
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::bucket::{Bucket, Hasher, Key, LONGEST_KEY, Value, key_length};
use super::kinds::{KindMasks, Kinds, PermuteTables};
use super::portable::{self, keys_one_by_one};
use super::words::{FIRST_MADE, NO_MERGE, NUMBER_BITS, PairLine, Pairs, WordRules, Words};
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
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// Runs `job` with AVX-512, which [`is_available`].
#[inline]
pub(super) fn run<J: Job>(job: J) -> J::Output {
    #[target_feature(
        enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt"
    )]
    fn with_features<J: Job>(job: J) -> J::Output {
        job.run(Avx512(()))
    }
    // SAFETY: the only caller has checked `is_available`.
    unsafe { with_features(job) }
}

/// Calls intrinsics of which the safety is the presence of their instructions.
macro_rules! avx512 {
    ($call:expr) => {
        // SAFETY: a value of `Avx512` proves that the machine has the
        // instructions; pointers come from references to at least as many bytes
        // as are read or written.
        unsafe { $call }
    };
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
    fn keys<'t>(
        self,
        window: impl Fn(usize) -> &'t [u8; BLOCK],
        starts: &[u32],
        hasher: Hasher,
        buckets: &[Bucket],
        keys: &mut [Key],
        slots: &mut [u32],
    ) {
        let (key_groups, _) = keys.as_chunks_mut::<8>();
        let (slot_groups, _) = slots.as_chunks_mut::<8>();
        let mut at = 0;
        let mut before = &[0; 8];
        for (keys, slots) in key_groups.iter_mut().zip(slot_groups) {
            // Those of the group before, so that the reads do not wait for this group.
            fetch(buckets, before);
            let Some(starts) = starts[at..].first_chunk::<9>() else {
                break;
            };
            let first = four_keys(&window, starts.first_chunk().unwrap_or(&[0; 5]));
            let second = four_keys(&window, starts.last_chunk().unwrap_or(&[0; 5]));
            avx512!({
                _mm512_storeu_si512(keys.as_mut_ptr().cast(), first);
                _mm512_storeu_si512(keys.as_mut_ptr().add(4).cast(), second);
                let numbers = bucket_numbers(hasher, first, second);
                _mm256_storeu_si256(slots.as_mut_ptr().cast(), numbers);
            });
            before = slots;
            at += 8;
        }
        fetch(buckets, before);
        keys_one_by_one(
            window,
            &starts[at..],
            hasher,
            &mut keys[at..],
            &mut slots[at..],
        );
        for &slot in &slots[at..] {
            fetch(buckets, &[slot]);
        }
    }

    #[inline(always)]
    fn probe(self, buckets: &[Bucket], keys: &[Key], slots: &[u32], values: &mut [u64]) {
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

    const WORDS: usize = 3;

    #[inline(always)]
    fn merge_words(self, rules: WordRules<'_>, words: &[Key], out: &mut Words) {
        merge_three(rules, words, out);
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

/// The value of `key`, or zero, from its bucket.
#[inline(always)]
fn look_up(buckets: &[Bucket], key: &Key, slot: u32) -> u64 {
    let place = slot as usize & (buckets.len() - 1);
    // SAFETY: there are buckets, in a power of two, so the place is one of them.
    let bucket = unsafe { buckets.get_unchecked(place) };
    let found = avx512!({
        let key = _mm_loadu_si128((&raw const *key).cast());
        let line = _mm512_loadu_si512((&raw const *bucket).cast());
        _mm512_cmpeq_epi64_mask(_mm512_broadcast_i32x4(key), line)
    });
    bucket.value_of_match(found as usize)
}

/// Fetches the buckets of `slots`.
#[inline(always)]
fn fetch<const N: usize>(buckets: &[Bucket], slots: &[u32; N]) {
    for &slot in slots {
        let bucket = buckets.as_ptr().wrapping_add(slot as usize);
        avx512!(_mm_prefetch::<_MM_HINT_T0>(bucket.cast()));
    }
}

/// The keys of the four pieces between five starts.
#[inline(always)]
fn four_keys<'t>(window: &impl Fn(usize) -> &'t [u8; BLOCK], bounds: &[u32; 5]) -> __m512i {
    let &[a, b, c, d, _] = bounds;
    avx512!({
        let starts = _mm_loadu_si128(bounds.as_ptr().cast());
        let ends = _mm_loadu_si128(bounds.as_ptr().add(1).cast());
        // Too long: no byte belongs to the key.
        let lengths = _mm_sub_epi32(ends, starts);
        let short =
            _mm_cmple_epu32_mask(lengths, _mm_set1_epi32((LONGEST_KEY as u32).cast_signed()));
        let lengths = _mm_maskz_mov_epi32(short, lengths);
        // Lane i of 16 bytes holds number i in each of its bytes.
        let spread = _mm512_set_epi64(
            0x0C0C_0C0C_0C0C_0C0C,
            0x0C0C_0C0C_0C0C_0C0C,
            0x0808_0808_0808_0808,
            0x0808_0808_0808_0808,
            0x0404_0404_0404_0404,
            0x0404_0404_0404_0404,
            0,
            0,
        );
        let lengths = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(lengths), spread);
        let count =
            _mm512_broadcast_i32x4(_mm_set_epi64x(0x0F0E_0D0C_0B0A_0908, 0x0706_0504_0302_0100));
        let padding = _mm512_cmple_epu8_mask(lengths, count);
        let bytes = if d - a <= (BLOCK - LONGEST_KEY) as u32 {
            // All begin within one register.
            let offsets = _mm_sub_epi32(starts, _mm_set1_epi32(a.cast_signed()));
            let offsets = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(offsets), spread);
            let indices = _mm512_add_epi8(offsets, count);
            _mm512_permutexvar_epi8(indices, load64(window(a as usize)))
        } else {
            let low = _mm256_inserti128_si256::<1>(
                _mm256_castsi128_si256(first16(window(a as usize))),
                first16(window(b as usize)),
            );
            let high = _mm256_inserti128_si256::<1>(
                _mm256_castsi128_si256(first16(window(c as usize))),
                first16(window(d as usize)),
            );
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        };
        _mm512_mask_mov_epi8(bytes, padding, _mm512_set1_epi8(-1))
    })
}

#[inline(always)]
fn first16(bytes: &[u8; BLOCK]) -> __m128i {
    avx512!(_mm_loadu_si128(bytes.as_ptr().cast()))
}

/// [`Hasher::slot`] of eight keys.
#[inline(always)]
fn bucket_numbers(hasher: Hasher, first: __m512i, second: __m512i) -> __m256i {
    let [low, high] = hasher.multipliers.map(u64::cast_signed);
    avx512!({
        let multipliers = _mm512_set_epi64(high, low, high, low, high, low, high, low);
        let first = _mm512_mullo_epi64(first, multipliers);
        let second = _mm512_mullo_epi64(second, multipliers);
        // Key 0 of the first four, key 0 of the second four, key 1 of the first …
        let sums = _mm512_add_epi64(
            _mm512_unpacklo_epi64(first, second),
            _mm512_unpackhi_epi64(first, second),
        );
        let shift = _mm_cvtsi32_si128(hasher.shift.cast_signed());
        let order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
        let numbers = _mm512_permutexvar_epi64(order, _mm512_srl_epi64(sums, shift));
        _mm512_cvtepi64_epi32(numbers)
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

/// The number of the merge of two symbols, or [`NO_MERGE`], without a branch
/// that depends on the answer.
#[inline(always)]
fn pair(pairs: Pairs<'_>, left: u32, right: u32) -> u32 {
    let key = u64::from(left) << NUMBER_BITS | u64::from(right);
    let at = pairs.line_of(key) & (pairs.lines.len() - 1);
    let line = &pairs.lines[at].0;
    let found = avx512!({
        let keys = _mm512_srli_epi64::<NUMBER_BITS>(load8(line));
        _mm512_cmpeq_epi64_mask(keys, _mm512_set1_epi64(key.cast_signed()))
    });
    // The mark at the end stands for all pairs that are not there.
    let entry = line[(u32::from(found) | 0x80).trailing_zeros() as usize % 8];
    if entry == PairLine::FULL {
        return in_the_next_lines(pairs, left, right);
    }
    entry as u32 & NO_MERGE
}

#[cold]
#[inline(never)]
fn in_the_next_lines(pairs: Pairs<'_>, left: u32, right: u32) -> u32 {
    pairs.merge(left, right)
}

/// One word on its way. Numbers of merges stand in the register with their
/// places below them, so that the least names its place.
#[derive(Clone, Copy)]
struct Lockstep {
    merges: __m512i,
    /// Bit `i` is set while a symbol begins at byte `i`, and at the end.
    begins: u64,
}

/// The bits of a place below the number of a merge.
const PLACE_BITS: u32 = 4;

/// Merges one pair of one word and returns its number; [`NO_MERGE`] when there is none.
#[inline(always)]
fn step(pairs: Pairs<'_>, symbols: &mut [u32; BLOCK], state: &mut Lockstep, none: __m512i) -> u32 {
    let least = avx512!(_mm512_reduce_min_epu32(state.merges));
    let (merge, at) = (least >> PLACE_BITS, least & 15);
    let begins = state.begins;
    let after = begins >> at >> 1;
    let after_next = after & after.wrapping_sub(1);
    // Where the right symbol begins, and the one after it.
    let right = (at + 1 + after.trailing_zeros()) & 63;
    let next = (at + 1 + after_next.trailing_zeros()) & 63;
    // One more than where the symbol before begins; 0 if there is none.
    let before = 64 - (begins & ((1 << at) - 1)).leading_zeros();
    let made = (FIRST_MADE + merge).min(NO_MERGE);
    let with_before = pair(pairs, symbols[before as usize & 63], made);
    let with_next = pair(pairs, made, symbols[(next as usize + 1) & 63]);
    // A word that is done goes on writing to a place that stands for nothing.
    let live = u32::from(merge != NO_MERGE);
    let place = ((at + 1) * live) as usize & 63;
    symbols[place] = if live == 1 { made } else { NO_MERGE };
    let gone = u64::from(live) << right;
    state.begins = begins & !gone;
    avx512!({
        let merges = _mm512_mask_mov_epi32(state.merges, gone as u16, none);
        let here = (with_next << PLACE_BITS | at).cast_signed();
        let merges = _mm512_mask_set1_epi32(merges, 1 << at, here);
        let there = with_before << PLACE_BITS | (before.wrapping_sub(1) & 15);
        let place = ((1_u32 << before) >> 1) as u16;
        state.merges = _mm512_mask_set1_epi32(merges, place, there.cast_signed());
    });
    merge
}

/// Merges up to three words in lockstep; see [`super::words`].
#[inline(always)]
fn merge_three(rules: WordRules<'_>, words: &[Key], out: &mut Words) {
    const GROUP: usize = 3;
    let none = avx512!(_mm512_set1_epi32(
        (NO_MERGE << PLACE_BITS | 15).cast_signed()
    ));
    let places = avx512!(_mm512_set_epi32(
        15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0
    ));
    // Symbol of the byte at `i` at `i + 1`; the ends merge with nothing.
    let mut symbols = [[NO_MERGE; BLOCK]; GROUP];
    let mut states = [Lockstep {
        merges: none,
        begins: 0,
    }; GROUP];
    for ((&word, symbols), state) in words.iter().zip(&mut symbols).zip(&mut states) {
        let length = key_length(word);
        let bytes = word.to_le_bytes();
        avx512!({
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
            let left = _mm512_cvtepu8_epi32(bytes);
            let right = _mm512_cvtepu8_epi32(_mm_srli_si128::<1>(bytes));
            let in_word = ((1_u32 << length) - 1) as u16;
            let start =
                _mm512_mask_mov_epi32(_mm512_set1_epi32(NO_MERGE.cast_signed()), in_word, left);
            _mm512_storeu_si512(symbols.as_mut_ptr().add(1).cast(), start);
            let pairs = _mm512_or_si512(left, _mm512_slli_epi32::<8>(right));
            let merges = _mm512_mask_i32gather_epi32::<4>(
                _mm512_set1_epi32(NO_MERGE.cast_signed()),
                in_word >> 1,
                pairs,
                rules.byte_pairs.as_ptr().cast(),
            );
            let merges = _mm512_or_si512(_mm512_slli_epi32::<PLACE_BITS>(merges), places);
            state.merges = _mm512_mask_mov_epi32(none, in_word >> 1, merges);
        });
        state.begins = (2 << length) - 1;
    }
    let [one, two, three] = &mut states;
    let [symbols_one, symbols_two, symbols_three] = &mut symbols;
    loop {
        let mut all_done = step(rules.pairs, symbols_one, one, none);
        all_done &= step(rules.pairs, symbols_two, two, none);
        all_done &= step(rules.pairs, symbols_three, three, none);
        if all_done == NO_MERGE {
            break;
        }
    }
    for (index, (symbols, state)) in symbols.iter().zip(states).enumerate().take(words.len()) {
        let end = state.begins.ilog2();
        let begins = state.begins as u32 & ((1 << end) - 1);
        out.lengths[index] = begins.count_ones() as usize;
        avx512!({
            let all = _mm512_loadu_si512(symbols.as_ptr().add(1).cast());
            let kept = _mm512_maskz_compress_epi32(begins as u16, all);
            _mm512_storeu_si512(out.symbols[index].as_mut_ptr().cast(), kept);
        });
    }
}
